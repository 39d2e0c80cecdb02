"""The matcher against `git check-ignore`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kled_sync.ignore.pattern import parse_line
from kled_sync.ignore.presets import preset
from kled_sync.ignore.rules import Rules, is_ignored
from kled_wire.errors import InputError
from tests.kit.examples import examples

PARTS = [b"a", b"b", b"ab", b"a.c", b"b c", b"[x]", b"-", b"!a", b"#a", b"abc"]
PIECES = [
    b"a", b"b", b"c", b".", b"*", b"**", b"?", b"/", b"/", b"[ab]", b"[!a]", b"[a-c]", b"[]a]",
    b"[[:alpha:]]", b"\\", b" ", b"#", b"!", b"-", b"[", b"]", b"\\ ",
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A repository three deep in which each directory has a file and a directory per name."""
    root = tmp_path_factory.mktemp("ignore")
    subprocess.run(["git", "init", "-q", root], check=True)
    paths: list[bytes] = []
    for first in PARTS[:6]:
        for second in PARTS[:6]:
            Path(root, os.fsdecode(first), os.fsdecode(second)).mkdir(parents=True)
            paths += [first + b"/" + second + b"/" + name for name in PARTS]
        paths += [first + b"/" + name for name in PARTS[6:]]
    paths += PARTS[6:]
    for path in paths:
        Path(os.fsdecode(os.fsencode(root) + b"/" + path)).touch()
    return root, paths


def git_ignores(root: Path, paths: list[bytes]) -> set[bytes]:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin", "--no-index"],
        input=b"\0".join(paths),
        cwd=root,
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return set(done.stdout.split(b"\0")) - {b""}


def we_ignore(stack: list[Rules], path: bytes) -> bool:
    parts = path.split(b"/")
    for depth in range(1, len(parts) + 1):
        here = b"/".join(parts[:depth])
        if is_ignored(stack, here, parts[depth - 1], is_directory=depth < len(parts)):
            return True
    return False


LINE = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(LINE, max_size=6))
@example([b"a**/a"])
@example([b"a**b/a", b"a/b**", b"a?**/a", b"\\a**/a"])
def test_lines_mean_what_they_mean_to_git(
    tree: tuple[Path, list[bytes]], lines: list[bytes]
) -> None:
    root, paths = tree
    text = b"\n".join(lines)
    (root / ".gitignore").write_bytes(text)
    rules = [Rules(text)]
    assert {path for path in paths if we_ignore(rules, path)} == git_ignores(root, paths)


# Below a name that a rule left out git reads no rules, as a scan does not.
PLACES = (b"", b"a", b"a/a", b"a/b", b"b")


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.lists(LINE, max_size=3), min_size=len(PLACES), max_size=len(PLACES)))
@example([[b"*"], [b"!a"], [], [b"!*"], []])
@example([[b"a/*", b"!a/b"], [b"b", b"!/b"], [], [b"abc", b"!abc"], [b"/a"]])
def test_rules_of_directories_mean_what_they_mean_to_git(
    tree: tuple[Path, list[bytes]], lines: list[list[bytes]]
) -> None:
    root, paths = tree
    rules = {}
    try:
        for place, own in zip(PLACES, lines, strict=True):
            text = b"\n".join(own)
            (root / os.fsdecode(place) / ".gitignore").write_bytes(text)
            rules[place] = Rules(text, place)

        def ignores(path: bytes) -> bool:
            parts = path.split(b"/")
            stack = [rules[b""]]
            for depth in range(1, len(parts) + 1):
                here = b"/".join(parts[:depth])
                if is_ignored(stack, here, parts[depth - 1], is_directory=depth < len(parts)):
                    return True
                stack += [rules[here]] if here in rules else []
            return False

        assert {path for path in paths if ignores(path)} == git_ignores(root, paths)
    finally:
        for place in PLACES[1:]:
            (root / os.fsdecode(place) / ".gitignore").unlink(missing_ok=True)


def test_a_rule_deeper_down_is_stronger() -> None:
    stack = [Rules(b"*.log\n"), Rules(b"!keep.log\n", b"sub")]
    assert is_ignored(stack, b"sub/x.log", b"x.log", is_directory=False)
    assert not is_ignored(stack, b"sub/keep.log", b"keep.log", is_directory=False)


@given(st.binary(max_size=40))
def test_no_line_is_too_strange_to_read(line: bytes) -> None:
    parse_line(line)
    Rules(line).verdict(b"a/b", b"b", is_directory=False)


def test_presets_have_names() -> None:
    assert Rules(preset("node")).verdict(b"x/node_modules", b"node_modules", is_directory=True)
    with pytest.raises(InputError, match="no rules called 'nodee'"):
        preset("nodee")
