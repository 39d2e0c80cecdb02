"""What only some of the Pythons we run on would tell: the tree stays inside all of them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def trees(containing: str) -> Iterator[tuple[Path, ast.Module]]:
    for top in ("kled_*", "scripts", "tests"):
        for path in sorted(ROOT.glob(f"{top}/**/*.py")):
            text = path.read_text(encoding="utf-8")
            if re.search(containing, text):
                yield path.relative_to(ROOT), ast.parse(text)


def never_returning(tree: ast.Module) -> set[str]:
    """The functions that raise by contract, by their bare names."""
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.returns is not None
        and ast.unparse(node.returns).rpartition(".")[2] in ("NoReturn", "Never")
    }


def at_once(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """What runs with `nodes`: functions that are only made there do not."""
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def raising(tree: ast.Module, never: set[str]) -> Iterator[int]:
    """The lines in a `except*` of `tree` that raise, or call what does nothing else."""
    for clause in ast.walk(tree):
        if not isinstance(clause, ast.TryStar):
            continue
        for node in at_once([statement for h in clause.handlers for statement in h.body]):
            if isinstance(node, ast.Raise | ast.Assert | ast.Await) or (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).rpartition(".")[2] in never | {"exit", "fail", "skip"}
            ):
                yield node.lineno


def test_nothing_raises_inside_except_star() -> None:
    """Python 3.11.0 to 3.11.3 puts it into a group, which no `except` catches (gh-103590).

    Keep the error in a variable, and raise it after the statement.
    """
    never = {name for _, tree in trees("NoReturn|Never") for name in never_returning(tree)}
    found = [f"{path}:{line}" for path, tree in trees(r"except\*") for line in raising(tree, never)]
    assert not found


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("raise OSError from g", [3]),
        ("if g: raise", [3]),
        ("sys.exit(1)", [3]),
        ("_malformed('x')", [3]),
        ("assert g", [3]),
        ("await g", [3]),
        ("problem = g", []),
        ("later = lambda: sys.exit(1)", []),
    ],
)
def test_what_raises_inside_except_star_is_found(body: str, lines: list[int]) -> None:
    source = f"async def f():\n try: pass\n except* OSError as g: {body}\n"
    source += "def _malformed(what) -> typing.NoReturn: raise ValueError(what)\n"
    tree = ast.parse(source.replace(": if", ":\n  if"))
    assert [min(line, 3) for line in raising(tree, never_returning(tree))] == lines


def test_one_range_of_pythons_everywhere() -> None:
    lower, upper = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    finder = (ROOT / "scripts/lib/find-python.sh").read_text()
    assert f"(3, {lower}) <= sys.version_info < (3, {upper})" in finder
    versions = [f"3.{minor}" for minor in range(int(lower), int(upper))]
    assert set(re.findall(r"python(3\.\d+)", finder)) == set(versions)
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{lower}"
    assert PROJECT["tool"]["mypy"]["python_version"] == f"3.{lower}"
    assert f"Python 3.{lower} to 3.{int(upper) - 1}" in (ROOT / "README.md").read_text()
    assert sys.version_info[:2] in {(3, int(version[2:])) for version in versions}


def test_no_warning_is_switched_off_as_a_kind() -> None:
    """Each names what it says and whose module says it."""
    first, *others = PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]
    assert first == "error"
    for line in others:
        action, message, category, module = line.split(":")
        assert action == "ignore"
        assert len(message) > 10
        assert category == "DeprecationWarning"
        assert not module.startswith(("kled", "tests"))
        assert module
