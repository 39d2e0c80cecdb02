"""The numbered cases of facts/sync-and-relay.md, 1.3, with real folders in each of the four modes.

All cases are directories of one sync, which a run brings to what both agreed on, and another from
there: what a tool of this kind documents is what is then on the disks.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from kled_sync.decide.modes import Mode
from kled_sync.files.options import Options
from tests.kit.endpoints import kept_same

# Names and contents; one that ends with a slash is a directory, `-> ` begins a link's target.
Files = dict[str, str]
MODES: Final = (
    Mode.TWO_WAY_SAFE,
    Mode.TWO_WAY_RESOLVED,
    Mode.ONE_WAY_SAFE,
    Mode.ONE_WAY_REPLICA,
)
# A link that leads out is what cannot be brought over, `x.ignored` what a rule leaves out.
OUT: Final = "-> ../../../out"


class Case(NamedTuple):
    """`ends` says of each mode what is there: `A` and `B` what that side had, `|` both together,
    `=` what each had; `!` after it that there is a conflict.
    """

    agreed: Files
    alpha: Files
    beta: Files
    ends: str


CASES: Final = {
    "1 both make the same file": Case({}, {"f": "1"}, {"f": "1"}, "= = = ="),
    "1 both make the same link": Case({}, {"l": "-> f"}, {"l": "-> f"}, "= = = ="),
    "1 both make the same directory": Case({}, {"d/": ""}, {"d/": ""}, "= = = ="),
    "2 both delete": Case({"f": "1", "d/f": "1"}, {}, {}, "= = = ="),
    "3 alpha makes": Case({}, {"f": "1", "d/e/f": "2", "l": "-> f"}, {}, "A A A A"),
    "3 alpha changes": Case({"f": "1"}, {"f": "2"}, {"f": "1"}, "A A A A"),
    "3 alpha deletes": Case({"f": "1", "g": "1"}, {"g": "1"}, {"f": "1", "g": "1"}, "A A A A"),
    "3 alpha's file is a directory": Case({"f": "1"}, {"f/g": "1"}, {"f": "1"}, "A A A A"),
    "3 alpha's directory is a file": Case({"d/f": "1"}, {"d": "1"}, {"d/f": "1"}, "A A A A"),
    "3 alpha's directory is a link": Case({"d/f": "1"}, {"d": "-> g"}, {"d/f": "1"}, "A A A A"),
    "4 beta makes": Case({}, {}, {"f": "1", "d/f": "1"}, "B B = A"),
    "5 beta changes": Case({"f": "1"}, {"f": "1"}, {"f": "2"}, "B B =! A"),
    "6 beta deletes": Case({"f": "1", "g": "1"}, {"f": "1", "g": "1"}, {"g": "1"}, "B B A A"),
    "7 both make a file": Case({}, {"f": "1"}, {"f": "2"}, "=! A =! A"),
    "7 both change a file": Case({"f": "1"}, {"f": "2"}, {"f": "3"}, "=! A =! A"),
    "7 both make a link": Case({}, {"l": "-> f"}, {"l": "-> g"}, "=! A =! A"),
    "8 a file, a directory": Case({}, {"f": "1"}, {"f/": ""}, "=! A =! A"),
    "8 a file, a full directory": Case({}, {"f": "1"}, {"f/g/h": "1"}, "=! A =! A"),
    "8 a full directory, a file": Case({}, {"f/g/h": "1"}, {"f": "1"}, "=! A =! A"),
    "8 a link, a full directory": Case({}, {"f": "-> g"}, {"f/g": "1"}, "=! A =! A"),
    "8 a file in place of an edited directory": Case(
        {"d/f": "1", "d/g": "1"}, {"d": "2"}, {"d/f": "2", "d/g": "1"}, "=! A =! A"
    ),
    "8 an edited directory, a file in place of it": Case(
        {"d/f": "1", "d/g": "1"}, {"d/f": "2", "d/g": "1"}, {"d": "2"}, "=! A =! A"
    ),
    "9 directories merge": Case({}, {"d/f": "1"}, {"d/g": "2"}, "| | A|B A"),
    "10 only one file contradicts": Case(
        {}, {"d/f": "1", "d/g": "1"}, {"d/f": "2", "d/g": "1"}, "=! A =! A"
    ),
    "11 alpha edits, beta deletes": Case({"f": "1"}, {"f": "2"}, {}, "A A A A"),
    "12 beta edits, alpha deletes": Case({"f": "1"}, {}, {"f": "2"}, "B B = A"),
    "13 alpha deletes all, beta a part": Case(
        {"d/f": "1", "d/g": "1"}, {}, {"d/f": "1"}, "A A A A"
    ),
    "14 alpha deletes a part, beta all": Case(
        {"d/f": "1", "d/g": "1"}, {"d/f": "1"}, {}, "B B A A"
    ),
    "15 something ignored is in what alpha deletes": Case(
        {"d/f": "1"}, {}, {"d/f": "1", "d/x.ignored": "1"}, "x x x x"
    ),
    "16 alpha cannot give it": Case({"f": "1"}, {"f": OUT}, {"f": "1"}, "= = = ="),
    "16 beta cannot give it": Case({"f": "1"}, {"f": "1"}, {"f": OUT}, "= = = ="),
    "17 the rest of a directory comes": Case(
        {}, {"d/f": "1", "d/no": OUT, "d/x.ignored": "1"}, {}, "d d d d"
    ),
    "18 beta has something ignored instead": Case(
        {"f.ignored/g": "1"}, {"f.ignored/g": "1"}, {"f.ignored/h": "1"}, "= = = ="
    ),
}
SPECIAL: Final = {
    "x": ({}, {"d/x.ignored": "1"}),
    "d": ({"d/f": "1", "d/no": OUT, "d/x.ignored": "1"}, {"d/f": "1"}),
}


def lay(root: Path, files: Files) -> None:
    """Make `root` what `files` say."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)


def found(root: Path) -> Files:
    """What `lay` was told."""
    files = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            files[name] = f"-> {path.readlink()}"
        elif path.is_file():
            files[name] = path.read_text()
        elif not any(path.iterdir()):
            files[f"{name}/"] = ""
    return files


def ends(case: Case, word: str) -> tuple[Files, Files, bool]:
    """What alpha and beta have in the end, and whether there is a conflict."""
    both = {**case.alpha, **case.beta}
    ways = {
        "A": (case.alpha, case.alpha),
        "B": (case.beta, case.beta),
        "|": (both, both),
        "A|B": (case.alpha, both),
        "=": (case.alpha, case.beta),
        **SPECIAL,
    }
    return *ways[word.removesuffix("!")], word.endswith("!")


@pytest.mark.parametrize("mode", MODES)
async def test_each_case_ends_as_documented(
    tmp_path: Path, alpha: Path, beta: Path, mode: Mode
) -> None:
    options = Options(durable="none")
    for name, case in CASES.items():
        lay(alpha / name, case.agreed)
    async with kept_same(tmp_path, alpha, beta, options=options) as sync:
        await sync.flush()
        assert not sync.health.all_conflicts()
    for name, case in CASES.items():
        lay(alpha / name, case.alpha)
        lay(beta / name, case.beta)
    options = options.with_rules(b"*.ignored\n", gitignore=True)
    async with kept_same(tmp_path, alpha, beta, mode, options=options) as sync:
        for _ in range(2):  # and it stays so
            await sync.flush()
            conflicts = {path.partition(b"/")[0].decode() for path in sync.health.all_conflicts()}
            is_now = {
                name: (found(alpha / name), found(beta / name), name in conflicts) for name in CASES
            }
            wanted = {
                name: ends(case, case.ends.split()[MODES.index(mode)])
                for name, case in CASES.items()
            }
            assert is_now == wanted
