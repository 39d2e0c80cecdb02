"""What becomes of a path: the cases that tools of this kind document, in every mode."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_sync.decide.guard import is_guarded
from kled_sync.decide.modes import Mode, SyncSide, Verdict, decide
from kled_sync.decide.reconcile import Outcome, Reconciler, SyncTerms
from kled_sync.tree.entry import Kind, TreeEntry, make_directory, make_file, make_frozen, make_link
from kled_sync.tree.tree import Tree

S, R, O1, P1 = (
    Mode.TWO_WAY_SAFE,
    Mode.TWO_WAY_RESOLVED,
    Mode.ONE_WAY_SAFE,
    Mode.ONE_WAY_REPLICA,
)
ALL = (S, R, O1, P1)
DIRECTORY = make_directory(0o755)


def file(content: str, mode: int = 0o644) -> TreeEntry:
    return make_file(mode, len(content), 1, content.encode().ljust(32, b"."))


def tree(**entries: TreeEntry | str) -> Tree:
    """Names with `__` for a slash; words are contents of files."""
    made = Tree()
    made.root = DIRECTORY
    for name, entry in entries.items():
        path = name.replace("__", "/").encode()
        made.put(path, file(entry) if isinstance(entry, str) else entry)
    return made


def outcome(mode: Mode, alpha: Tree, beta: Tree, agreed: Tree) -> Outcome:
    return Reconciler(SyncTerms(mode=mode), alpha, beta, agreed).run()


def done(mode: Mode, alpha: Tree, beta: Tree, agreed: Tree) -> str:
    """`name>` for what goes to beta, `<name` for what goes to alpha, `-` before a deletion."""
    out = outcome(mode, alpha, beta, agreed)
    words = [f"!{c.path.decode()}" for c in out.conflicts]
    for action in out.actions:
        name = ("-" if action.new is None else "") + action.path.decode()
        words.append(f"{name}>" if action.side is SyncSide.BETA else f"<{name}")
    return " ".join(sorted(words))


# Alpha, beta, agreed, then what each of the four modes does.
CASES: dict[str, tuple[dict[str, TreeEntry | str], ...] | tuple[object, ...]] = {
    "both made the same": ({"f": "1"}, {"f": "1"}, {}, "", "", "", ""),
    "both deleted it": ({}, {}, {"f": "1"}, "", "", "", ""),
    "alpha made it": ({"f": "1"}, {}, {}, "f>", "f>", "f>", "f>"),
    "alpha changed it": ({"f": "2"}, {"f": "1"}, {"f": "1"}, "f>", "f>", "f>", "f>"),
    "alpha deleted it": ({}, {"f": "1"}, {"f": "1"}, "-f>", "-f>", "-f>", "-f>"),
    "beta made it": ({}, {"f": "1"}, {}, "<f", "<f", "", "-f>"),
    "beta changed it": ({"f": "1"}, {"f": "2"}, {"f": "1"}, "<f", "<f", "!f", "f>"),
    "beta deleted it": ({"f": "1"}, {}, {"f": "1"}, "<-f", "<-f", "f>", "f>"),
    "both made different": ({"f": "1"}, {"f": "2"}, {}, "!f", "f>", "!f", "f>"),
    "both changed it": ({"f": "2"}, {"f": "3"}, {"f": "1"}, "!f", "f>", "!f", "f>"),
    "a file and a directory": ({"f": "1"}, {"f": DIRECTORY}, {}, "!f", "f>", "!f", "f>"),
    "alpha changed, beta deleted": ({"f": "2"}, {}, {"f": "1"}, "f>", "f>", "f>", "f>"),
    "beta changed, alpha deleted": ({}, {"f": "2"}, {"f": "1"}, "<f", "<f", "", "-f>"),
    "a program now": (
        {"f": file("1", 0o755)}, {"f": "1"}, {"f": "1"}, "f>", "f>", "f>", "f>",
    ),
    "other bits of the mode": ({"f": file("1", 0o600)}, {"f": "1"}, {"f": "1"}, "", "", "", ""),
    "the same link": ({"l": make_link(b"a")}, {"l": make_link(b"a", 5)}, {}, "", "", "", ""),
    "directories merge": (
        {"d": DIRECTORY, "d__a": "1"}, {"d": DIRECTORY, "d__b": "2"}, {},
        "<d/b d/a>", "<d/b d/a>", "d/a>", "-d/b> d/a>",
    ),
    "only the file contradicts": (
        {"d": DIRECTORY, "d__a": "1", "d__b": "1"}, {"d": DIRECTORY, "d__a": "2"}, {},
        "!d/a d/b>", "d/a> d/b>", "!d/a d/b>", "d/a> d/b>",
    ),
    "alpha deleted all, beta part": (
        {}, {"d": DIRECTORY, "d__a": "1"}, {"d": DIRECTORY, "d__a": "1", "d__b": "1"},
        "-d/a> -d>", "-d/a> -d>", "-d/a> -d>", "-d/a> -d>",
    ),
    "alpha deleted the directory, beta edited in it": (
        {}, {"d": DIRECTORY, "d__a": "2", "d__b": "1"},
        {"d": DIRECTORY, "d__a": "1", "d__b": "1"},
        "-d/b> <d <d/a", "-d/b> <d <d/a", "-d/b>", "-d/a> -d/b> -d>",
    ),
    "alpha deleted the directory, beta has something ignored in it": (
        {}, {"d": DIRECTORY, "d__a": "1", "d__x": make_frozen(Kind.IGNORED)},
        {"d": DIRECTORY, "d__a": "1"},
        "-d/a>", "-d/a>", "-d/a>", "-d/a>",
    ),
    "a file became a directory": (
        {"f": DIRECTORY, "f__a": "1"}, {"f": "1"}, {"f": "1"},
        "f/a> f>", "f/a> f>", "f/a> f>", "f/a> f>",
    ),
    "a directory became a file, with something new in it on the other side": (
        {"d": "file"}, {"d": DIRECTORY, "d__new": "1"}, {"d": DIRECTORY},
        "!d", "-d/new> d>", "!d", "-d/new> d>",
    ),
    "the same, with something ignored in it, too": (
        {"d": "file"}, {"d": DIRECTORY, "d__new": "1", "d__x": make_frozen(Kind.IGNORED)},
        {"d": DIRECTORY},
        "!d", "!d", "!d", "!d",
    ),
    "it cannot be read on one side": (
        {"f": make_frozen(Kind.PROBLEM, "no")}, {"f": "1"}, {"f": "1"}, "", "", "", "",
    ),
    "it is ignored now": (
        {"d": make_frozen(Kind.IGNORED)}, {"d": DIRECTORY, "d__a": "1"},
        {"d": DIRECTORY, "d__a": "1"}, "", "", "", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("number", range(4))
def test_a_case_comes_out_as_documented(name: str, number: int) -> None:
    alpha, beta, agreed, *wanted = CASES[name]
    assert isinstance(alpha, dict)
    assert isinstance(beta, dict)
    assert isinstance(agreed, dict)
    found = done(ALL[number], tree(**alpha), tree(**beta), tree(**agreed))
    assert found == wanted[number]


NAMES = st.sampled_from(["a", "b", "d", "d__a", "d__e", "d__e__f"])
ENTRIES = st.sampled_from([file("1"), file("2"), make_link(b"x"), DIRECTORY])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    made = tree()
    for name, entry in draw(st.dictionaries(NAMES, ENTRIES)).items():
        path = name.replace("__", "/").encode()
        for depth in range(1, path.count(b"/") + 1):
            above = b"/".join(path.split(b"/")[:depth])
            found = made.get(above)
            if found is None or not found.is_directory:
                made.put(above, DIRECTORY)
        made.put(path, entry)
    return made


def everything(side: Tree) -> dict[bytes, TreeEntry]:
    return dict(side.walk())


@given(trees(), trees(), trees(), st.sampled_from(ALL))
def test_nothing_that_was_not_agreed_is_overwritten(a: Tree, b: Tree, o: Tree, mode: Mode) -> None:
    """Of two-way-safe nothing at all is lost; of the others only what the mode gives up."""
    out = outcome(mode, a, b, o)
    for action in out.actions:
        side = a if action.side is SyncSide.ALPHA else b
        there = side.get(action.path)
        assert there == action.old
        if mode is S or (mode is O1):
            assert (
                there is None
                or there.is_directory
                or there == o.get(action.path)
                or (there[19:] == (o.get(action.path) or b"")[19:])
            )


@given(trees(), trees(), trees(), st.sampled_from(ALL))
def test_what_was_decided_is_done_once(a: Tree, b: Tree, o: Tree, mode: Mode) -> None:
    """After the actions there are none left, and what conflicted still does."""
    out = outcome(mode, a, b, o)
    for path, entry in out.agreed:
        _set(o, path, entry)
    for action in sorted(out.actions, key=lambda x: (x.new is not None, x.path)):
        side = a if action.side is SyncSide.ALPHA else b
        _set(side, action.path, action.new)
        _set(o, action.path, action.new)
    again = outcome(mode, a, b, o)
    assert again.actions == []
    assert {c.path for c in again.conflicts} == {c.path for c in out.conflicts}


def _set(side: Tree, path: bytes, entry: TreeEntry | None) -> None:
    if entry is None:
        side.remove(path)
    else:
        side.put(path, entry)


@given(trees(), trees(), trees(), st.sampled_from(ALL))
def test_looking_at_every_directory_finds_what_looking_at_all_does(
    a: Tree, b: Tree, o: Tree, mode: Mode
) -> None:
    whole = outcome(mode, a, b, o)
    directories = {b"", *a.directories, *b.directories, *o.directories}
    parts = Reconciler(SyncTerms(mode=mode), a, b, o).run(directories)
    # Each once: deletions are counted, and each is a request to the other side.
    assert Counter(parts.actions) == Counter(whole.actions)
    assert set(parts.conflicts) == set(whole.conflicts)


@given(trees(), trees(), trees(), st.sampled_from([*ALL, Mode.COPY]), st.integers(1, 3))
def test_a_new_tree_is_decided_on_in_parts_unless_something_goes(
    a: Tree, b: Tree, o: Tree, mode: Mode, paths_max: int
) -> None:
    terms = SyncTerms(mode=mode)
    whole = Reconciler(terms, a, b, o).run()
    part = Reconciler(terms, a, b, o, paths_max=paths_max).run()
    assert part.deletes == whole.deletes
    parts = [part]
    while part.later:
        part = Reconciler(terms, a, b, o, paths_max=paths_max).run((), part.later)
        parts.append(part)
    assert Counter(x for part in parts for x in part.actions) == Counter(whole.actions)
    assert {x for part in parts for x in part.conflicts} == set(whole.conflicts)
    assert {x for part in parts for x in part.agreed} == set(whole.agreed)


def test_a_part_is_as_large_as_it_may_be() -> None:
    many = tree(**{f"d{n}": DIRECTORY for n in range(5)}, **{f"d{n}__f": "1" for n in range(5)})
    left, parts = Reconciler(SyncTerms(mode=S), many, tree(), tree(), paths_max=3).run(), 1
    assert len(left.actions) == 4
    while left.later:
        left = Reconciler(SyncTerms(mode=S), many, tree(), tree(), paths_max=3).run((), left.later)
        parts += 1
    assert parts == 3


def test_a_file_that_nobody_read_is_read_only_where_it_matters() -> None:
    unread = make_file(0o644, 5, 1)
    new = outcome(S, tree(f=unread), tree(), tree())
    assert new.unread == {SyncSide.ALPHA: [], SyncSide.BETA: []}
    assert [a.new for a in new.actions] == [unread]
    changed = outcome(S, tree(f=unread), tree(f="1"), tree(f="1"))
    assert changed.unread[SyncSide.ALPHA] == [b"f"]
    assert changed.actions == []
    grown = outcome(S, tree(f=make_file(0o644, 5, 2)), tree(f="1"), tree(f="1"))
    assert grown.unread == {SyncSide.ALPHA: [], SyncSide.BETA: []}
    assert [a.path for a in grown.actions] == [b"f"]
    both = outcome(S, tree(f=make_file(0o644, 5, 2)), tree(f=make_file(0o644, 5, 3)), tree(f="1"))
    assert [c.path for c in both.conflicts] == [b"f"]


def test_a_copy_deletes_nothing_and_believes_size_and_time() -> None:
    terms = SyncTerms(mode=Mode.COPY, quick=True)
    alpha = tree(same=make_file(0o644, 7, 3), new="1")
    beta = tree(same=make_file(0o644, 7, 3, b"d" * 32), extra="x")
    out = Reconciler(terms, alpha, beta, Tree()).run()
    assert [(a.path, a.side) for a in out.actions] == [(b"new", SyncSide.BETA)]
    assert decide(Mode.COPY, b"", b"x", b"") is Verdict.LEAVE


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        (b".git/hooks/post-merge", True), (b"sub/.git/config", True), (b".GIT/Config", True),
        (b".git/info/attributes", True), (b".git/modules/x/hooks/y", True),
        (b".git/index.lock", True), (b".git/refs/heads/main", False), (b"config", False),
        (b".gitignore", False), (b"sub/.git", True),
    ],
)  # fmt: skip
def test_what_git_would_run_is_guarded(path: bytes, refused: bool) -> None:
    assert is_guarded(path, file("x")) is refused
    assert not is_guarded(b".git", DIRECTORY)
