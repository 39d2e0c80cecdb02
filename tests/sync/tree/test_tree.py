"""What several trees have alike is once in memory, and is changed in one of them alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_sync.tree.entry import make_directory, make_file
from kled_sync.tree.tree import Tree, share_entries

PATHS = st.sampled_from([b"d/f", b"d/g", b"d/h"])
CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "share", "move"]), st.integers(0, 2), PATHS)
)


def make_tree() -> Tree:
    tree = Tree()
    for path in (b"", b"d"):
        tree.put(path, make_directory(0o755))
    tree.put(b"d/f", make_file(0o644, 0, 1, b"1" * 32))
    return tree


def test_what_is_the_same_is_one_object() -> None:
    trees = [make_tree() for _ in range(3)]
    share_entries(b"d", trees)
    packed = [tree.directories.packed(b"d") for tree in trees]
    assert packed[0] is packed[1] is packed[2]
    trees[1].remove(b"d/f")
    share_entries(b"d", trees)
    assert (len(trees[0].children(b"d")), len(trees[1].children(b"d"))) == (1, 0)


@given(CHANGES)
def test_a_change_of_one_tree_is_one_of_that_alone(changes: list[tuple[str, int, bytes]]) -> None:
    shared, alone = [make_tree() for _ in range(3)], [make_tree() for _ in range(3)]
    for size, (what, number, path) in enumerate(changes):
        if what == "share":
            share_entries(b"d", shared)
            share_entries(b"m", shared)
        for tree in (shared[number], alone[number]):
            if what == "put" and tree.get(b"d") is not None:
                tree.put(path, make_file(0o644, 0, size))
            elif what == "remove":
                tree.remove(path)
            elif what == "move" and tree.get(b"d") is not None and tree.get(b"m") is None:
                tree.move(b"d", b"m")
    assert shared == alone
