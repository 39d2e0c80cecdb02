"""The layout says what the system does: modules have tests, files and functions stay small."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.tested_by import TESTED_BY

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("kled_wire", "kled_sync", "kled_agent", "kled_client", "kled_coord", "kled_provider")
FILE_LINES, FILE_LINES_MAX = 400, 600
FUNCTION_LINES_MAX = 60
# The store's record and the client's model of one thing share their name; nothing else does.
SHARED_NAMES = {
    "Build", "RegisteredKey", "Template", "Token", "User", "Variable", "Workspace",
}  # fmt: skip
SHARED_BY = (
    {"kled_client/api/models.py", "kled_coord/store/records.py"},
    {"kled_client/api/models.py", "kled_coord/store/template_records.py"},
)


@dataclass(frozen=True)
class Facts:
    """What a file is made of."""

    docstring: str | None
    lines: int
    functions: tuple[tuple[str, int, int], ...]  # name, first line, number of lines
    classes: tuple[str, ...]


@cache
def facts(path: Path) -> Facts:
    """Each file is parsed once for all tests, which takes seconds."""
    text = path.read_text()
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    return Facts(
        docstring=ast.get_docstring(tree),
        lines=len(text.splitlines()),
        functions=tuple(
            (node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
        classes=tuple(node.name for node in nodes if isinstance(node, ast.ClassDef)),
    )


@cache
def modules() -> tuple[Path, ...]:
    return tuple(
        path.relative_to(ROOT)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "__init__.py"
    )


def sources() -> Iterator[Path]:
    for top in (*ROOMS, "scripts", "tests"):
        yield from sorted((ROOT / top).rglob("*.py"))


def mirror(module: Path) -> Path:
    room = module.parts[0].removeprefix("kled_")
    return ROOT / "tests" / room / Path(*module.parts[1:-1]) / f"test_{module.stem}.py"


ROWS = [(test, row) for test, rows in TESTED_BY.items() for row in rows.split()]


def test_every_module_has_its_test() -> None:
    rows = {row for _, row in ROWS}
    missing = [
        str(module)
        for module in modules()
        if module.parent.name != "versions"  # of migrations, which are run one after the other
        and not mirror(module).is_file()
        and str(module.with_suffix("")) not in rows
    ]
    assert not missing, "no test of their own, and not in tests/tested_by.py"


def test_the_table_names_what_is_there_and_needs_it_and_each_once() -> None:
    own = {str(m.with_suffix("")): mirror(m).is_file() for m in modules()}
    assert [test for test in TESTED_BY if not (ROOT / "tests" / test).is_file()] == []
    assert [row for _, row in ROWS if row not in own] == [], "gone, or no module"
    assert [row for _, row in ROWS if own[row]] == [], "they have their own test"
    assert len(ROWS) == len({row for _, row in ROWS})


def test_no_file_is_too_long() -> None:
    lengths = {p.relative_to(ROOT): facts(p).lines for p in sources()}
    assert not {str(p): n for p, n in lengths.items() if n > FILE_LINES_MAX}
    long = [f"{p} ({n})" for p, n in lengths.items() if n > FILE_LINES]
    if long:
        with warnings.catch_warnings():
            # To be seen in the summary, not to fail: the budget has a margin for a reason.
            warnings.simplefilter("default")
            warnings.warn(f"over {FILE_LINES} lines: {', '.join(long)}", stacklevel=1)


def test_no_function_is_too_long() -> None:
    assert not [
        f"{path.relative_to(ROOT)}:{line} {name} ({length})"
        for path in sources()
        for name, line, length in facts(path).functions
        if length > FUNCTION_LINES_MAX
    ]


def test_no_class_name_stands_for_two_things() -> None:
    """Tests may name their own things as they like: the rooms and `scripts` are looked at."""
    assert len(SHARED_NAMES) <= 8
    places: dict[str, list[str]] = {}
    for path in sources():
        name = str(path.relative_to(ROOT))
        if not name.startswith("tests/"):
            for found in facts(path).classes:
                places.setdefault(found, []).append(name)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    shared = {name for name, found in twice.items() if set(found) in SHARED_BY}
    assert {name: found for name, found in twice.items() if name not in shared} == {}
    assert shared == SHARED_NAMES


def test_no_test_file_is_empty() -> None:
    empty = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if not any(name.startswith("test_") for name, _, _ in facts(path).functions)
    ]
    assert not empty


def test_every_module_says_what_it_is_for() -> None:
    assert not [str(module) for module in modules() if not facts(ROOT / module).docstring]


def test_migrations_follow_each_other_one_by_one() -> None:
    """Two that were numbered alike on two branches would leave no way to upgrade."""
    directory = ROOT / "kled_coord/store/migrations/versions"
    names = sorted(path.name for path in directory.glob("0*.py"))
    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)], names
    for name in names[1:]:
        text = (directory / name).read_text()
        assert f'revision = "{name[:4]}"' in text, name
        assert f'down_revision = "{int(name[:4]) - 1:04}"' in text, name
