"""Compares both sides with the last agreement: actions for each side, and conflicts. No I/O.

It compares the given directories, so that one saved file costs one directory, and everything below
those that were created, were deleted or changed their kind. Paths whose decision needs the content
of a file that was not read yet are in `unread`; the caller reads them and calls again.

A tree of a million files that nothing was agreed of is decided on in parts, since an action for
each of them would need more memory than the trees: `later` is what is left for another call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from kled_sync.decide.comparing import (
    comparable,
    contradiction,
    differ_in_time,
    have_same_mode,
    kind_word,
    looks_same,
    may_be_equal,
)
from kled_sync.decide.folding import NameRules, indistinct, words_of
from kled_sync.decide.modes import TWO_WAY, Mode, SyncSide, Verdict, decide
from kled_sync.tree.entry import EXECUTABLE, FILE, Kind, TreeEntry, essence, has_mode, is_directory
from kled_sync.tree.paths import ROOT, is_below, split
from kled_sync.tree.tree import Tree

Guard = Callable[[bytes, TreeEntry | None], bool]
# On which sides something is; as bits, since there are a million of them.
_ALPHA, _BETA, _BOTH = 1, 2, 3
_BIT: Final = {SyncSide.ALPHA: _ALPHA, SyncSide.BETA: _BETA}


class PathChange(NamedTuple):
    """`side` gets `new` at `path` (None: nothing) in place of `old`."""

    side: SyncSide
    path: bytes
    new: TreeEntry | None
    old: TreeEntry | None


class Conflict(NamedTuple):
    """A path that is left as it is on both sides, and why; a problem is not as somebody wanted."""

    path: bytes
    reason: str
    is_problem: bool = False
    # The side of the path, where it is on one side alone.
    side: SyncSide | None = None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What Reconciler decides: the actions, the conflicts, and what could not be read."""

    actions: list[PathChange] = field(default_factory=list)
    # Equal on both sides, and not what was agreed before.
    agreed: list[tuple[bytes, TreeEntry | None]] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    unread: dict[SyncSide, list[bytes]] = field(
        default_factory=lambda: {SyncSide.ALPHA: [], SyncSide.BETA: []}
    )
    # The directories whose entries were looked at.
    entered: set[bytes] = field(default_factory=set)
    # Directories in which there is more to do when the actions are done.
    again: set[bytes] = field(default_factory=set)
    # Directories of which nothing was agreed, and that were not looked at: there was enough to do.
    later: set[bytes] = field(default_factory=set)
    # Left alone: a name that is ignored, cannot be read, or may not be brought over.
    skipped: list[Conflict] = field(default_factory=list)

    @property
    def deletes(self) -> bool:
        """Whether something is to go, be it to come back under another name."""
        return any(action.new is None for action in self.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncTerms:
    """The terms of a whole sync: its mode, the protected side, and what file systems can do."""

    mode: Mode
    mode_mask: int = EXECUTABLE
    # Once, as rsync: a file of the same size and time is the same.
    quick: bool = False
    # Whether times are brought over by themselves.
    times: bool = False
    # Whether nothing takes the place of a directory, and no directory that of anything else.
    kinds_stay: bool = False
    # The side that `guard` protects; None where both are trusted alike.
    guarded: SyncSide | None = None
    guard: Guard = lambda _path, _entry: False
    # Of the sides that cannot have every name beside every other.
    names: Mapping[SyncSide, NameRules] = field(default_factory=dict)

    def copies_mode(self, entry: TreeEntry | None) -> bool:
        """Whether all permissions of `entry` are copied, not its executable bit alone."""
        return self.mode_mask != EXECUTABLE and has_mode(entry)


class Reconciler:
    """Compares the two sides with what they agreed on last; changes none of the three trees."""

    def __init__(
        self,
        terms: SyncTerms,
        alpha: Tree,
        beta: Tree,
        agreed: Tree,
        *,
        paths_max: int | None = None,
    ) -> None:
        """`paths_max`: with more paths than that to do something for, the rest is left for later.

        What is agreed on is looked at in any case, so that all deletions are found together.
        """
        self._terms, self._paths_max = terms, paths_max
        self._alpha, self._beta, self._agreed = alpha, beta, agreed
        self._out = Outcome()
        # What alpha alone has is brought to beta, and what it has no more goes there: in nearly
        # every mode, unless that is to be looked at path by path.
        trusted = terms.guarded is not SyncSide.BETA
        to_beta = Verdict.TO_BETA
        self._copies = trusted and decide(terms.mode, b"new", b"", b"") is to_beta
        self._deletes = trusted and decide(terms.mode, b"", b"old", b"old") is to_beta

    def run(
        self, directories: Iterable[bytes] | None = None, whole: Iterable[bytes] = ()
    ) -> Outcome:
        """Look at `directories` (None: everything), and at all that is in those of `whole`."""
        if directories is None:
            self._visit(ROOT, deep=True)
            return self._out
        tops = set(whole)
        for directory in sorted(tops):
            self._visit(directory, deep=True)
        # What is above comes first, and a directory that came or went is looked at as a whole.
        for directory in sorted(set(directories)):
            top = self._top(directory)
            if top in self._out.entered:
                continue
            if self._both_have(top):
                self._out.entered.add(top)
                self._look_into(top, deep=False)
                if top == ROOT:  # which is in no directory that would be looked at
                    self._visit(ROOT, deep=False)
            elif top not in tops and not self._was_seen(top):
                self._visit(top, deep=True)
            tops.add(top)
        return self._out

    def _top(self, directory: bytes) -> bytes:
        """`directory`; where one side has none there, the topmost one that is not on both."""
        top = directory
        if not self._both_have(top):
            while top != ROOT and not self._both_have(split(top)[0]):
                top = split(top)[0]
        return top

    def _was_seen(self, path: bytes) -> bool:
        """Whether it was looked at with all that is in the directory above."""
        return path != ROOT and split(path)[0] in self._out.entered

    def _both_have(self, path: bytes) -> bool:
        return is_directory(self._alpha.get(path)) and is_directory(self._beta.get(path))

    def _visit(self, path: bytes, *, deep: bool) -> int:
        """Decide on `path`; on which sides something will be there, or below it, afterwards."""
        a, b, o = self._alpha.get(path), self._beta.get(path), self._agreed.get(path)
        return self._look(path, a, b, o, deep=deep)

    def _look_into(self, directory: bytes, *, deep: bool) -> int:
        """`_visit` of all that is in a directory; a million times, so it looks each up once."""
        alpha, beta = self._alpha.children(directory), self._beta.children(directory)
        agreed = self._agreed.children(directory)
        names = {*alpha, *beta, *agreed}
        above = directory + b"/" if directory else b""
        sides = 0
        refused = self._indistinct(directory, names) if self._terms.names else {}
        actions, to_beta = self._out.actions, SyncSide.BETA
        mark = len(actions)
        for name in sorted(names):
            a, b, o = alpha.get(name), beta.get(name), agreed.get(name)
            is_new = a is not None and a[0] == FILE and b is None and o is None
            if is_new and self._copies and name not in refused:
                # By far the most: a file that is new on one side.
                actions.append(PathChange(to_beta, above + name, a, None))
                sides = _BOTH
            elif self._is_settled(a, b, o):
                sides = _BOTH
            elif name in refused:
                reason = words_of(name, refused[name])
                self._out.skipped.append(Conflict(above + name, reason, is_problem=True))
                sides |= _sides(a, b)
            elif a is None and b is not None and b == o and b[0] == FILE and self._deletes:
                actions.append(PathChange(to_beta, above + name, None, b))
            else:
                sides |= self._look(above + name, a, b, o, deep=deep)
        if refused:
            gone = {action.path for action in actions[mark:] if action.new is None}
            if not gone.isdisjoint(above + winner for winner in refused.values()):
                self._out.again.add(directory)
        return sides

    def _indistinct(self, directory: bytes, names: set[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        agreed = self._agreed.children(directory)
        for side, rules in self._terms.names.items():
            tree = self._alpha if side is SyncSide.ALPHA else self._beta
            found |= indistinct(names, tree.children(directory), agreed, rules)
        return found

    def _is_settled(self, a: TreeEntry | None, b: TreeEntry | None, o: TreeEntry | None) -> bool:
        """Whether both sides have the same file, and nothing is to be noted of it."""
        if a is None or a != b or a[0] != FILE:
            return False
        return self._terms.quick or (a == o and a.is_hashed)

    def _look(
        self,
        path: bytes,
        a: TreeEntry | None,
        b: TreeEntry | None,
        o: TreeEntry | None,
        *,
        deep: bool,
    ) -> int:
        if (a is not None and a.is_frozen) or (b is not None and b.is_frozen):
            return self._leave_frozen(path, a, b, o)
        if self._is_guarded(path, a, b):
            return self._skip(path, "not brought to this machine: git would run it", a, b)
        in_a, in_b = is_directory(a), is_directory(b)
        below = 0
        mark = len(self._out.actions)
        if (in_a or in_b or (o is not None and o.is_directory)) and (deep or not (in_a and in_b)):
            if self._is_enough() and self._can_wait(a, b, o):
                self._out.later.add(path)
                return _BOTH if a is not None or self._terms.mode in TWO_WAY else _BETA
            self._out.entered.add(path)
            below = self._look_into(path, deep=True)
        verdict = self._verdict(path, a, b, o)
        if verdict is None:
            return _sides(a, b)
        return self._act(path, (a, b, o), verdict, below, mark)

    def _is_enough(self) -> bool:
        """Whether there is something to do for as many paths as one call is to find."""
        if self._paths_max is None:
            return False
        out = self._out
        unread = max(map(len, out.unread.values()))
        return len(out.actions) + len(out.agreed) + unread >= self._paths_max

    def _can_wait(self, a: TreeEntry | None, b: TreeEntry | None, o: TreeEntry | None) -> bool:
        """Whether a directory is new, and nothing in it would go."""
        if o is not None or not all(e is None or e.is_directory for e in (a, b)):
            return False
        if self._terms.mode is Mode.TWO_WAY_RESOLVED:
            return a is None or b is None  # else alpha may win over what is in it
        return b is None or self._terms.mode is not Mode.ONE_WAY_REPLICA

    def _is_guarded(self, path: bytes, a: TreeEntry | None, b: TreeEntry | None) -> bool:
        guarded = self._terms.guarded
        if guarded is None or a == b:
            return False
        source = b if guarded is SyncSide.ALPHA else a
        return self._terms.guard(path, source) and self._moves_to(guarded, path, a, b)

    def _moves_to(
        self, side: SyncSide, path: bytes, a: TreeEntry | None, b: TreeEntry | None
    ) -> bool:
        verdict = self._verdict(path, a, b, self._agreed.get(path))
        wanted = Verdict.TO_ALPHA if side is SyncSide.ALPHA else Verdict.TO_BETA
        return verdict in {wanted, None}

    def _verdict(
        self, path: bytes, a: TreeEntry | None, b: TreeEntry | None, o: TreeEntry | None
    ) -> Verdict | None:
        """None where the content of a file is not known, and is needed."""
        if self._terms.quick and a is not None and b is not None and looks_same(a, b):
            same = have_same_mode(a, b, self._terms.mode_mask)
            return Verdict.SAME if same else Verdict.TO_BETA
        missing = False
        for side, entry, other in ((SyncSide.ALPHA, a, b), (SyncSide.BETA, b, a)):
            if entry is None or entry.is_hashed:
                continue
            # Where the size is another its content changes nothing: a file that grows to 5 GB is
            # not read each time only to find that it has changed.
            asks_agreed = self._terms.mode is not Mode.COPY
            if may_be_equal(entry, other) or (asks_agreed and may_be_equal(entry, o)):
                self._out.unread[side].append(path)
                missing = True
        if missing:
            return None
        mask = self._terms.mode_mask
        alpha, beta = essence(comparable(a), mask), essence(comparable(b), mask)
        return decide(self._terms.mode, alpha, beta, essence(o, mask))

    def _act(
        self,
        path: bytes,
        entries: tuple[TreeEntry | None, TreeEntry | None, TreeEntry | None],
        verdict: Verdict,
        below: int,
        mark: int,
    ) -> int:
        a, b, o = entries
        if verdict is Verdict.SAME:
            if self._terms.times and differ_in_time(a, b):
                self._out.actions.append(PathChange(SyncSide.BETA, path, a, b))
            elif a != o:
                self._out.agreed.append((path, a))
            return _sides(a, b)
        if verdict is Verdict.LEAVE:
            return _sides(a, b)
        if verdict is Verdict.CONFLICT:
            words = contradiction(a, b, o, self._terms.mode_mask)
            return self._conflict(path, words, a, b, mark)
        side = SyncSide.BETA if verdict is Verdict.TO_BETA else SyncSide.ALPHA
        new, old = (a, b) if side is SyncSide.BETA else (b, a)
        if (
            self._terms.kinds_stay
            and not (new is None or old is None)
            and new.is_directory is not old.is_directory
        ):
            return self._conflict(path, f"a {kind_word(old)} is in its place", a, b, mark)
        if below and (new is None or not new.is_directory):
            return self._keep_directory(path, side, new, old, below, mark)
        self._out.actions.append(PathChange(side, path, new, old))
        return _BOTH if new is not None else 0

    def _keep_directory(
        self,
        path: bytes,
        side: SyncSide,
        new: TreeEntry | None,
        old: TreeEntry | None,
        below: int,
        mark: int,
    ) -> int:
        """Something below is to stay, or to come: the directory cannot go."""
        if new is not None and self._terms.mode is Mode.TWO_WAY_RESOLVED:
            return self._let_alpha_win(path, mark)
        if new is not None:
            a, b = (new, old) if side is SyncSide.BETA else (old, new)
            return self._conflict(path, "a directory that is not empty is in its place", a, b, mark)
        if below & _BIT[side.other]:
            # What is below survives and comes back to the side that deleted the directory.
            self._out.actions.append(PathChange(side.other, path, old, None))
        return below | _BIT[side]

    def _let_alpha_win(self, path: bytes, mark: int) -> int:
        """Decide again on `path`, and all below it: beta gets what alpha has."""
        del self._out.actions[mark:]
        self._out.skipped = [s for s in self._out.skipped if not is_below(s.path, path)]
        self._out.later = {late for late in self._out.later if not is_below(late, path)}
        terms = replace(self._terms, mode=Mode.ONE_WAY_REPLICA)
        replica = Reconciler(terms, self._alpha, self._beta, self._agreed)
        replica._out = self._out
        return replica._visit(path, deep=True)

    def _conflict(
        self, path: bytes, reason: str, a: TreeEntry | None, b: TreeEntry | None, mark: int
    ) -> int:
        del self._out.actions[mark:]
        if is_directory(a) or is_directory(b):
            self._out.later = {late for late in self._out.later if not is_below(late, path)}
        self._out.conflicts.append(Conflict(path, reason))
        return _sides(a, b)

    def _leave_frozen(
        self, path: bytes, a: TreeEntry | None, b: TreeEntry | None, o: TreeEntry | None
    ) -> int:
        frozen = a if a is not None and a.is_frozen else b
        assert frozen is not None
        words = frozen.tail.decode("utf-8", "replace")
        if words:
            side = SyncSide.ALPHA if frozen is a else SyncSide.BETA
            self._out.skipped.append(Conflict(path, words, frozen.kind is Kind.PROBLEM, side))
        elif o is not None:
            # Ignored from now on: nothing is deleted, and nothing was agreed when it comes back.
            self._out.agreed.append((path, None))
        return _sides(a, b)

    def _skip(self, path: bytes, reason: str, a: TreeEntry | None, b: TreeEntry | None) -> int:
        self._out.skipped.append(Conflict(path, reason))
        return _sides(a, b)


def _sides(a: TreeEntry | None, b: TreeEntry | None) -> int:
    return (_ALPHA if a is not None else 0) | (_BETA if b is not None else 0)
