"""New directories that come whole: what one job brings of a tree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_sync.decide.gathering import find_tops, in_tree_order
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import JOB_BYTES, JOB_OPERATIONS, Do, plan
from kled_sync.decide.reconcile import PathChange
from kled_sync.tree.entry import TreeEntry, make_directory, make_file
from kled_sync.tree.paths import split
from kled_sync.tree.tree import Tree
from kled_sync.wire.filled import NewFiles

names = st.sampled_from([b"a", b"a-", b"b", b"c"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


def new(path: bytes, entry: TreeEntry) -> PathChange:
    return PathChange(SyncSide.BETA, path, entry, None)


def directories_above(path: bytes) -> list[bytes]:
    above, found = split(path)[0], []
    while above:
        found.append(above)
        above = split(above)[0]
    return found


@given(st.sets(paths, max_size=30), st.integers(1, 12), st.integers(0, 40))
def test_a_directory_comes_whole_if_all_below_it_fits(
    files: set[bytes], operations_max: int, bytes_max: int
) -> None:
    directories = {above for path in files for above in directories_above(path)}
    files -= directories
    # Some are part of their directory, some are not.
    own = {
        above: [p for p in files if split(p)[0] == above and len(p) % 2] for above in directories
    }
    made = {above: NewFiles(some, sum(map(len, some))) for above, some in own.items()}
    rest = files - {path for some in own.values() for path in some}
    tops = find_tops(made, [(path, len(path)) for path in rest], operations_max, bytes_max)
    for directory in directories:
        inside = [path for path in files | directories if path.startswith(directory + b"/")]
        size = sum(len(path) for path in inside if path in files)
        fits = len(inside) + 1 <= operations_max and size <= bytes_max
        assert (directory in tops) is fits
        if fits:
            above = [above for above in directories_above(directory) if above in tops]
            assert tops[directory] == (above[-1] if above else directory)


@given(st.sets(paths, max_size=30))
def test_what_is_below_a_directory_follows_it_at_once(found: set[bytes]) -> None:
    ordered = sorted(found, key=in_tree_order)
    for at, path in enumerate(ordered):
        below = [other.startswith(path + b"/") for other in ordered[at + 1 :]]
        assert below == sorted(below, reverse=True)


def test_of_many_files_those_of_a_new_directory_come_with_it_in_one_job() -> None:
    actions = [new(b"d%d" % d, make_directory(0o755)) for d in range(30)]
    actions += [
        new(b"d%d/f%d" % (d, f), make_file(0o644, 0, 9)) for d in range(30) for f in range(49)
    ]
    actions += [new(b"large", make_directory(0o755)), new(b"large/in", make_directory(0o755))]
    actions += [new(b"large/in/file", make_file(0o644, 0, JOB_BYTES // 2))]
    actions += [new(b"much", make_directory(0o755))]
    actions += [new(b"much/%d" % n, make_file(0o644, 0, 1)) for n in range(JOB_OPERATIONS)]
    first, arriving = plan(actions, Tree())
    made = [o.path for job in first for o in job.operations]
    assert made == [b"large", b"large/in", b"much"]
    for job in arriving:
        assert len(job.operations) <= JOB_OPERATIONS
        come = {o.path for o in job.operations if o.do is Do.MAKE_DIRECTORY}
        assert {split(o.path)[0] for o in job.operations} - {b"", b"large/in", b"much"} == come
    assert sum(len(job.operations) for job in arriving) == len(actions) - len(made)
    assert arriving[-1].operations[-1].path == b"large/in/file"
