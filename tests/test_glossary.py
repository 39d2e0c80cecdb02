"""docs/glossary.md: each term stands once, in one sentence, and its synonyms nowhere."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What was decided and what has changed keep the words of their day.
KEPT = ("docs/adr/", "docs/glossary.md", "CHANGELOG.md", "LICENSE", "tests/test_glossary.py")
# Not ours: the carriage return of terminals, and the host of xterm's documentation.
FOREIGN = re.compile(r"carriage return|invisible-island")


def rows() -> list[tuple[str, str, list[str]]]:
    """Term, meaning and the words that are not used."""
    lines = (ROOT / "docs/glossary.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:2] == "| "]
    return [
        (term, meaning, synonyms.split(", "))
        for term, meaning, synonyms in cells
        if term != "term" and not term.startswith("---")
    ]


@cache
def texts() -> dict[str, str]:
    """Every text of the repository, names of files included; identifiers as separate words."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = {}
    for name in listed:
        path = ROOT / name
        if name and not name.startswith(KEPT) and path.is_file() and not path.is_symlink():
            text = path.read_bytes().decode(errors="replace")
            found[name] = words_of(FOREIGN.sub("", f"{name}\n{text}"))
    return found


def words_of(text: str) -> str:
    """`LeanGcm` and `lean_path` are made of words too."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text).lower()


def test_each_term_stands_once_in_one_sentence() -> None:
    terms = [term for term, _, _ in rows()]
    assert len(terms) > 40
    assert sorted(terms) == sorted(set(terms))
    for term, meaning, _ in rows():
        assert re.fullmatch(r"[A-Z][^.]*\.", meaning), term


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_synonyms_are_not_used(row: tuple[str, str, list[str]]) -> None:
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, row[2]))})\b")
    holding = [name for name, text in texts().items() if any(word in text for word in row[2])]
    assert [name for name in holding if pattern.search(texts()[name])] == []
