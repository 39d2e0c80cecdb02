"""Jobs: in which order, and what need not be sent."""

from __future__ import annotations

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import (
    JOB_BYTES,
    JOB_OPERATIONS,
    Do,
    plan,
    unread_worth_reading,
)
from kled_sync.decide.reconcile import PathChange
from kled_sync.decide.safety import (
    count_deletions,
    count_lasting,
    root_trouble,
    too_many_deletions,
    without_packed,
)
from kled_sync.tree.entry import Kind, TreeEntry, make_directory, make_file, make_frozen, make_link
from kled_sync.tree.tree import Tree
from kled_sync.wire.filled import FILE_BYTES, NewFiles

DIRECTORY = make_directory(0o755)


def file(content: str, size: int = 1, mtime_ns: int = 0) -> TreeEntry:
    return make_file(0o644, mtime_ns, size, content.encode().ljust(32, b"."))


def to_beta(path: bytes, new: TreeEntry | None, old: TreeEntry | None = None) -> PathChange:
    return PathChange(SyncSide.BETA, path, new, old)


def steps(actions: list[PathChange], target: Tree | None = None) -> list[list[tuple[Do, bytes]]]:
    found = plan(actions, target or Tree())
    return [[(o.do, o.path) for job in step for o in job.operations] for step in found]


def test_directories_come_before_their_files_and_go_after_them() -> None:
    found = steps([
        to_beta(b"d/e/f", file("1")), to_beta(b"d", DIRECTORY), to_beta(b"d/e", DIRECTORY),
        to_beta(b"x/y", None, DIRECTORY), to_beta(b"x", None, DIRECTORY),
        to_beta(b"x/y/z", None, file("2")),
    ])  # fmt: skip
    assert found == [
        [(Do.MAKE_DIRECTORY, b"d"), (Do.MAKE_DIRECTORY, b"d/e")],
        [(Do.CONTENT, b"d/e/f")],
        [(Do.REMOVE, b"x/y/z"), (Do.REMOVE_DIRECTORY, b"x/y"), (Do.REMOVE_DIRECTORY, b"x")],
    ]


def modes(actions: list[PathChange], target: Tree) -> list[list[tuple[Do, bytes, int]]]:
    found = plan(actions, target)
    return [
        [(o.do, o.path, o.new.mode if o.new is not None else 0) for o in job.operations]
        for step in found
        for job in step
    ]


def test_a_directory_is_closed_when_all_is_in_it() -> None:
    closed = make_directory(0o555)
    found = modes([to_beta(b"d", closed), to_beta(b"d/f", file("1"))], Tree())
    assert found == [
        [(Do.MAKE_DIRECTORY, b"d", 0o755)], [(Do.CONTENT, b"d/f", 0o644)], [(Do.DRESS, b"d", 0o555)]
    ]  # fmt: skip
    found = modes([to_beta(b"d", closed, DIRECTORY), to_beta(b"d/f", file("1"))], Tree())
    assert found == [[(Do.CONTENT, b"d/f", 0o644)], [(Do.DRESS, b"d", 0o555)]]


def many_in(directory: bytes, count: int, size: int = 1) -> list[PathChange]:
    return [to_beta(directory + b"/%04d" % n, file(str(n), size)) for n in range(count)]


def test_of_many_new_files_those_of_a_new_directory_are_one_operation_with_it() -> None:
    large = to_beta(b"d/large", file("l", FILE_BYTES))
    link = to_beta(b"d/link", make_link(b"large"))
    actions = [to_beta(b"d", DIRECTORY), large, link, *many_in(b"d", 600), *many_in(b"old", 600)]
    (step,) = plan(actions, Tree(), fills=True)
    found = {o.path: o for job in step for o in job.operations}
    names = [b"%04d" % n for n in range(600)]
    assert found[b"d"].files == NewFiles(tuple(names), 600)
    alone = {b"d", b"d/large", b"d/link"} | {b"old/" + name for name in names}
    assert found.keys() == alone
    assert [job.content_bytes for job in step] == [600 + FILE_BYTES + 397, 203]
    assert max(sum(o.weight for o in job.operations) for job in step) <= JOB_OPERATIONS


def test_a_peer_that_does_not_know_of_that_gets_each_file_by_itself() -> None:
    actions = [to_beta(b"d", DIRECTORY), *many_in(b"d", 600), *many_in(b"e", 600)]
    (step,) = plan(actions, Tree())
    assert sum(len(job.operations) for job in step) == len(actions)


def test_what_is_in_the_way_goes_first() -> None:
    found = steps([
        to_beta(b"d", file("1"), DIRECTORY), to_beta(b"d/in", None, file("2")),
        to_beta(b"f", DIRECTORY, file("3")), to_beta(b"f/new", file("4")),
    ])  # fmt: skip
    assert found[0] == [
        (Do.REMOVE, b"d/in"), (Do.REMOVE, b"f"), (Do.REMOVE_DIRECTORY, b"d"),
        (Do.MAKE_DIRECTORY, b"f"),
    ]  # fmt: skip


def test_a_file_that_is_there_under_another_name_is_not_sent() -> None:
    target = Tree()
    target.root = DIRECTORY
    target.put(b"old", file("same", 9))
    actions = [to_beta(b"new", file("same", 9)), to_beta(b"old", None, file("same", 9))]
    found = plan(actions, target)
    assert [(o.do, o.source) for o in found[0][0].operations] == [(Do.REUSE, b"old")]
    assert [o.do for o in found[1][0].operations] == [Do.REMOVE]


def test_a_new_file_is_read_first_where_its_size_says_it_may_be_there() -> None:
    actions = [
        to_beta(b"new", make_file(0o644, 0, 9)), to_beta(b"other", make_file(0o644, 0, 8)),
        to_beta(b"old", None, file("same", 9)),
    ]  # fmt: skip
    assert unread_worth_reading(actions, Tree()) == [b"new"]


def test_of_few_files_who_was_saved_last_is_first() -> None:
    found = steps([to_beta(b"a", file("1", 1, 10)), to_beta(b"b", file("2", 1, 20))])
    assert [path for _, path in found[0]] == [b"b", b"a"]


def test_a_job_is_bounded() -> None:
    many = [to_beta(b"%06d" % n, file("x", JOB_BYTES // 10)) for n in range(JOB_OPERATIONS + 5)]
    for job in plan(many, Tree())[0]:
        assert job.content_bytes <= JOB_BYTES
        assert len(job.operations) <= JOB_OPERATIONS


def test_roots_that_are_not_believed() -> None:
    agreed = Tree()
    agreed.root = DIRECTORY
    agreed.put(b"a", file("1"))
    agreed.put(b"b", file("1"))
    assert root_trouble("alpha", None, agreed, 0) == "the folder on the alpha side is gone"
    assert (
        root_trouble("alpha", DIRECTORY, agreed, 0) == "the folder on the alpha side is empty now"
    )
    assert root_trouble("alpha", file("x"), agreed, 0) == "what is on the alpha side is a file now"
    frozen = make_frozen(Kind.PROBLEM, "no")
    assert root_trouble("alpha", frozen, agreed, 0) == "the folder on the alpha side cannot be read"
    assert root_trouble("alpha", DIRECTORY, agreed, 2) is None
    assert root_trouble("alpha", None, Tree(), 0) is None


def test_many_deletions_are_asked_about() -> None:
    gone = [to_beta(b"%d" % n, None, file("1")) for n in range(101)]
    assert count_deletions(gone) == 101
    asked = too_many_deletions(gone, 500)
    assert asked == "101 of 500 files would be deleted on the beta side"
    assert too_many_deletions(gone, 5000) is None
    assert too_many_deletions(gone[:100], 100) is None
    asked = too_many_deletions(gone[:51], 500, 50)
    assert asked == "51 of 500 files would be deleted on the beta side after 50 a moment ago"
    assert too_many_deletions(gone[:50], 500, 50) is None
    assert too_many_deletions([to_beta(b"new", file("1"), None)], 500, 400) is None


def test_new_files_make_up_for_those_that_go() -> None:
    gone = [to_beta(b"%d" % n, None, make_file(0, 1, 1, bytes([n]) * 32)) for n in range(200)]
    new = [to_beta(b"new/%d" % n, make_file(0, 1, 2, bytes([n]) * 32), None) for n in range(150)]
    directories = [to_beta(b"new%d" % n, DIRECTORY, None) for n in range(200)]
    asked = "150 of 500 files would be deleted on the beta side"
    assert too_many_deletions([*gone, *new[:50], *directories], 500) == asked
    assert too_many_deletions([*gone, *new], 500) is None
    moved = [action._replace(path=b"moved/" + action.path, old=None) for action in gone[:60]]
    moved = [m._replace(new=g.old) for m, g in zip(moved, gone, strict=False)]
    asked = "140 of 500 files would be deleted on the beta side"
    assert too_many_deletions([*gone, *moved], 500) == asked


def test_loose_objects_of_git_do_not_count_where_a_pack_is() -> None:
    sha1, sha256 = b"ab/" + b"c" * 38, b"ab/" + b"c" * 62
    objects = (b".git/objects/", b"bare/objects/", b"objects/")
    loose = [to_beta(o + n, None, file("1")) for o in objects for n in (sha1, sha256)]
    others = [
        to_beta(path, None, file("1"))
        for path in (b"src/objects/abc/f", b"src/noobjects/ab/f", b".git/objects/info/commit-graph")
    ]
    new = to_beta(b".git/objects/" + sha1, file("1"), None)
    source = Tree()
    assert without_packed([*loose, *others, new], source) == [*loose, *others, new]
    for repository in objects:
        source.put(repository + b"pack/pack-1.pack", file("1"))
    assert without_packed([*loose, *others, new], source) == [*others, new]
    agreed = Tree()
    for repository in objects:
        agreed.put(repository + b"ab", DIRECTORY)
    for action in (*loose, *others):
        agreed.put(action.path, file("1"))
    assert count_lasting(agreed) == len(others)


def test_what_is_moved_is_not_deleted() -> None:
    def moved(number: int, digest: bytes) -> list[PathChange]:
        old, new = (make_file(0o644, 1, 5, d) for d in (bytes([number]) * 32, digest))
        return [
            PathChange(SyncSide.BETA, b"old/%d" % number, None, old),
            PathChange(SyncSide.BETA, b"new/%d" % number, new, None),
        ]

    same = [a for n in range(200) for a in moved(n, bytes([n]) * 32)]
    assert count_deletions(same) == 0
    assert too_many_deletions(same, 300) is None
    # Another content, or one that nobody has read, replaces nothing.
    assert count_deletions([a for n in range(200) for a in moved(n, b"x" * 32)]) == 199
    assert count_deletions([a for n in range(200) for a in moved(n, b"")]) == 200
