"""Random histories of both sides, with restarts, against a reference of what is promised.

The reference knows a path's content on either side and what was last agreed on; ten lines say what
a two-way sync makes of the three. Directories are there as long as something is in them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kled_sync.decide.modes import Mode
from kled_sync.session.deciding import PATHS_MAX
from tests.kit.endpoints import kept_same
from tests.kit.examples import examples

NAMES = ("f", "g", "d/f", "d/g", "d/e/f", "m/f", "m/g", "m/e/f")
# Directories that are renamed to each other, with all that is in them.
RENAMED = {"d/": "m/", "m/": "d/"}
Sides = dict[str, dict[str, str]]
Edit = tuple[str, str, str | None]
EDIT = st.tuples(
    st.sampled_from(["alpha", "beta"]),
    st.sampled_from([*NAMES, *RENAMED]),
    st.sampled_from(["", "1", "2", "333"]) | st.none(),
)


class Reference:
    """What each side has, and what both agreed on."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.sides: Sides = {"alpha": {}, "beta": {}}
        self.agreed: dict[str, str] = {}

    def edit(self, side: str, name: str, content: str | None) -> None:
        if name in RENAMED:
            for path in [path for path in self.sides[side] if path.startswith(name)]:
                moved = RENAMED[name] + path.removeprefix(name)
                self.sides[side][moved] = self.sides[side].pop(path)
        elif content is None:
            self.sides[side].pop(name, None)
        else:
            self.sides[side][name] = content

    def flush(self) -> set[str]:
        """Bring both sides together; the names that stay different."""
        alpha, beta = self.sides["alpha"], self.sides["beta"]
        conflicts = set()
        for name in NAMES:
            a, b, o = alpha.get(name), beta.get(name), self.agreed.get(name)
            winner = a
            if a in {b, o}:
                winner = b
            elif b != o:
                if a is None:  # an edit beats a deletion
                    winner = b
                elif b is not None and self.mode is Mode.TWO_WAY_SAFE:
                    conflicts.add(name)
                    continue
            for side in (alpha, beta, self.agreed):
                if winner is None:
                    side.pop(name, None)
                else:
                    side[name] = winner
        return conflicts


def write(root: Path, name: str, content: str | None) -> None:
    path = root / name
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def rename(source: Path, target: Path) -> None:
    if source.exists():
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)


def files(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


async def crash(
    home: Path, roots: dict[str, Path], mode: Mode, after_ms: int, *, forgets: bool
) -> None:
    """A sync that is cut off at some moment, of which perhaps only what it did is left."""
    state, before = home / "state", home / "before"
    state.mkdir(exist_ok=True)
    shutil.copytree(state, before)
    with trio.move_on_after(after_ms / 1000):
        async with kept_same(state, roots["alpha"], roots["beta"], mode) as sync:
            await sync.flush()
    shutil.rmtree(state if forgets else before)
    if forgets:
        before.rename(state)


Step = tuple[list[Edit], int | None, list[Edit]]


async def walk(home: Path, mode: Mode, history: list[Step]) -> None:
    """Each time: edits on both sides while no sync runs, perhaps a crash, then a sync, and edits
    that it sees.
    """
    reference = Reference(mode)
    roots = {side: home / side for side in ("alpha", "beta")}
    for root in roots.values():
        (root / "keep").mkdir(parents=True)  # an emptied side would halt, and is another test's

    def edit(side: str, name: str, content: str | None) -> None:
        if name in RENAMED:
            if any(path.startswith(RENAMED[name]) for path in reference.sides[side]):
                return  # a directory takes the place of an empty one alone
            rename(roots[side] / name, roots[side] / RENAMED[name])
            reference.edit(side, name, content)
            return
        write(roots[side], name, content)
        reference.edit(side, name, content)

    for unseen, after_ms, seen in history:
        for change in unseen:
            edit(*change)
        if after_ms is not None:
            await crash(home, roots, mode, after_ms, forgets=bool(after_ms % 2))
        async with kept_same(home / "state", roots["alpha"], roots["beta"], mode) as sync:
            await sync.flush()
            conflicts = reference.flush()
            for change in seen:
                edit(*change)
                await sync.flush()
                conflicts = reference.flush()
            assert {path.decode() for path in sync.health.conflicts} == conflicts
            for side, root in roots.items():
                assert files(root) == reference.sides[side], side


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([Mode.TWO_WAY_SAFE, Mode.TWO_WAY_RESOLVED]),
    st.lists(
        st.tuples(
            st.lists(EDIT, max_size=6),
            st.none() | st.integers(0, 60),
            st.lists(EDIT, max_size=3),
        ),
        max_size=3,
    ),
    st.sampled_from([1, PATHS_MAX]),
    st.sampled_from([0, 1000]),
)
def test_any_history_ends_as_promised(
    mode: Mode, history: list[Step], paths_max: int, few: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as home,
        patch("kled_sync.session.continuous.PATHS_MAX", paths_max),
        # With more new files than that those of a new directory come with it.
        patch("kled_sync.decide.operations._NEWEST_FIRST", few),
    ):
        trio.run(walk, Path(home), mode, history)
