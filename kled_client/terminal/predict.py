"""Show what is typed before the workspace has echoed it, over a slow connection. No I/O.

There is no emulator here, only as much of one as it takes to know that the cells from the cursor to
the right are blank (`CursorRow`): there keys are shown, underlined, and erased before anything from
the workspace is passed on. Whatever is not understood ends that knowledge and with it the showing,
so a wrong guess leaves nothing behind.

A key is shown only after the workspace has echoed one since the last line or control key: what is
typed where there is no echo, a password, is not shown.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import deque
from typing import Final, NamedTuple

# Shown underlined, and the underline ended, with the cursor after it.
_SHOW: Final = (b"\x1b[4m", b"\x1b[24m")
# The state that a predictor assumes at its beginning: nothing to the right of the cursor, nor
# below.
START: Final = b"\x1b[0m\x1b[J"
# A person who types this many keys ahead is not looking.
QUEUE_MAX: Final = 200
_HELD_MAX: Final = 4096
_TOKEN: Final = re.compile(
    r"(?P<lines>[\x20-\x7e\r\n]*\r\n)"
    r"|(?P<text>[\x20-\x7e]+)"
    r"|\x1b\[(?P<csi>[0-?]*[ -/]*[@-~])"
    r"|(?P<skip>\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\(B|\x1b[=>]|[\x00\x07])"
    r"|(?P<other>\x1b[^\[\](P_^X\x1b]|\x1b\([^\x1b]|\x1b[P_^X][^\x1b]*\x1b\\|[^\x1b])"
)
# Private modes that change neither the cells nor how they are written.
_HARMLESS_MODES: Final = frozenset(
    {"1", "12", "25", "1000", "1002", "1003", "1004", "1005", "1006", "1015", "2004", "2026"}
)
_OTHER_SCREEN: Final = frozenset({"47", "1047", "1049"})
# The title is saved and put back.
_TITLES: Final = frozenset({"22;0;0t", "23;0;0t", "22t", "23t"})
# These sequences move the cursor or cells, and keep the style.
_MOVING: Final = "ABEFHIJKLMPSTXZ@adefr"
_RESETS: Final = frozenset({22, 23, 24, 25, 27, 28, 29, 39, 49, 59})


class TypedKey(NamedTuple):
    """One that was typed and is not echoed yet: where it will be, and in which epoch it was."""

    character: str
    column: int
    epoch: int


class CursorRow:
    """Where the cursor is in its row, from where on that is blank, and whether all below is."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        # None: not known.
        self.column: int | None = None
        self.blank_from: int | None = None
        self._below = True
        # Text that is written now has no colours or other attributes.
        self._plain = True
        # The main screen's, while a full-screen program has the other one.
        self._saved: tuple[int | None, int | None, bool] | None = None
        # A mode was set under which nothing here is true.
        self._broken = False

    @property
    def room(self) -> int:
        """How many characters may be shown at the cursor; none near the margin."""
        usable = self._plain and self._saved is None and not self._broken
        if not usable or self.column is None or self.blank_from is None:
            return 0
        return max(self.columns - 2 - self.column, 0) if self.column >= self.blank_from else 0

    def lose(self) -> None:
        """The cursor is somewhere else, or something was drawn somewhere."""
        self.column = self.blank_from = None
        self._below = False

    def lose_all(self) -> None:
        """As `lose`, and the style may be another."""
        self.lose()
        self._plain = False

    def lose_column(self) -> None:
        """The cursor is somewhere in this row, or the next."""
        self.column = self.blank_from = None

    def resize(self, columns: int) -> None:
        """Terminals move text about, each in its way."""
        self.lose()
        self.columns = columns
        if self._saved is not None:
            self._saved = (None, None, False)

    def print(self, width: int) -> None:
        """Note that so many cells were written."""
        if self.column is None:
            self.blank_from = None
            return
        after = self.column + width
        if after > self.columns:
            after = (after - 1) % self.columns + 1
            self._new_row(after)
        elif self.blank_from is not None:
            self.blank_from = max(self.blank_from, after)
        self.column = after

    def print_lines(self) -> None:
        """Any number of lines, the last one ended by CR LF."""
        self._new_row(0)
        self.column = 0

    def _new_row(self, used: int) -> None:
        # Lines that scroll in have the current background.
        self._below = self._below and self._plain
        self.blank_from = used if self._below else None

    def control(self, character: str) -> None:
        """CR, LF, BS, HT; others are not understood."""
        inside = self.column is not None and self.column < self.columns
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._new_row(0)
            if not inside:
                self.column = None
        elif character == "\b" and inside:
            self.column = max((self.column or 0) - 1, 0)
        elif character in "\b\t":
            self.lose_column()
        else:
            self.lose_all()

    def sequence(self, text: str) -> None:
        """One of CSI: parameters and final byte."""
        final, parameters = text[-1], text[:-1]
        if parameters[:1] == "?":
            self._private(final, parameters[1:])
        elif parameters[:1] in {"<", ">", "="} or final in "cnq" or text in _TITLES:
            return
        elif final == "m":
            self._style(parameters)
        elif text in {"K", "0K"}:
            self._erase_right()
        elif text in {"J", "0J"}:
            self._erase_right()
            self._below = self._plain
        elif text == "2J":
            self._below = self._plain
            self.blank_from = 0 if self._plain else None
        elif text in {"H", "1;1H"}:
            self.lose()
            self.column = 0
        elif final in "CDG" and (parameters.isdecimal() or not parameters):
            self._move(final, max(int(parameters or 1), 1))
        elif text != "3J":
            self._unknown(final)

    def _unknown(self, final: str) -> None:
        if final in "hl":
            self._broken = True
        self.lose() if final in _MOVING else self.lose_all()

    def _private(self, final: str, parameters: str) -> None:
        modes = set(parameters.split(";"))
        if final in "hl" and modes <= _OTHER_SCREEN:
            self._switch(to_other=final == "h")
        elif final in "hl" and not modes <= _HARMLESS_MODES:
            self._broken = True
        elif final not in "hlnpu":
            self.lose_all()

    def _switch(self, *, to_other: bool) -> None:
        if to_other and self._saved is None:
            self._saved = self.column, self.blank_from, self._below
            self.lose()
        elif not to_other and self._saved is not None:
            (self.column, self.blank_from, self._below), self._saved = self._saved, None

    def _erase_right(self) -> None:
        if not self._plain or self.column is None or self.column >= self.columns:
            self.blank_from = None
        elif self.blank_from is None or self.blank_from > self.column:
            self.blank_from = self.column

    def _move(self, final: str, count: int) -> None:
        if final == "G":
            target = count - 1
        elif self.column is None or self.column >= self.columns:
            self.lose_column()
            return
        else:
            target = self.column + (count if final == "C" else -count)
        self.column = min(max(target, 0), self.columns - 1)

    def _style(self, parameters: str) -> None:
        for word in parameters.split(";"):
            if not word.strip("0"):
                self._plain = True
            elif not word.isdecimal() or int(word) not in _RESETS:
                # The next parameters may belong to this one: 38;5;0 resets nothing.
                self._plain = False
                return


class Predictor:
    """What was typed and not yet echoed, and how much of it is on the screen."""

    def __init__(self, columns: int) -> None:
        """Write START first."""
        self._row = CursorRow(columns)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._keys: deque[TypedKey] = deque()
        self._shown = 0
        self._epoch = 0
        self._sure = False

    @property
    def sure(self) -> bool:
        """Whether the workspace echoes: what is typed now may be shown."""
        return self._sure

    def typed(self, data: bytes) -> None:
        """Keys that are on their way."""
        if not data.isascii() or not data.decode().isprintable() or len(data) > QUEUE_MAX:
            self._doubt()
            return
        for character in data.decode():
            # Behind a key of another epoch nobody knows where the cursor will be.
            last = self._keys[-1] if self._keys else None
            column = self._row.column if last is None else last.column + 1
            stale = last is not None and last.epoch != self._epoch
            if column is not None and not stale and len(self._keys) < QUEUE_MAX:
                self._keys.append(TypedKey(character, column, self._epoch))

    def output(self, data: bytes) -> bytes:
        """What to write for `data` from the workspace. Follow it by `show`."""
        before = self._take_away()
        self._held += self._decoder.decode(data)
        at = 0
        while found := _TOKEN.match(self._held, at):
            self._token(found)
            at = found.end()
        self._held = self._held[at:]
        if len(self._held) > _HELD_MAX:
            self._held = ""
            self._row.lose_all()
        if self._keys and self._row.column != self._keys[0].column:
            self._forget()
        return before + data

    def show(self) -> bytes:
        """What to write to show what may be shown and is not yet."""
        if not self._sure or not self._keys or self._held or self._decoder.getstate()[0]:
            return b""
        if self._row.column != self._keys[0].column:
            return b""
        count = min(len(self._keys), self._row.room)
        fresh = [k.character for k in list(self._keys)[self._shown : count]]
        if not fresh:
            return b""
        self._shown += len(fresh)
        return _SHOW[0] + "".join(fresh).encode() + _SHOW[1]

    def disturbed(self) -> bytes:
        """Somebody else is about to write, or the size changes: what to write before that."""
        before = self._take_away()
        self._forget()
        self._row.lose()
        return before

    def resized(self, columns: int) -> bytes:
        """As `disturbed`; the terminal has `columns` columns now."""
        before = self.disturbed()
        self._row.resize(columns)
        return before

    def _take_away(self) -> bytes:
        count, self._shown = self._shown, 0
        return b"\x1b[%dD\x1b[%dX" % (count, count) if count else b""

    def _forget(self) -> None:
        self._keys.clear()
        self._doubt()

    def _doubt(self) -> None:
        self._epoch += 1
        self._sure = False

    def _token(self, found: re.Match[str]) -> None:
        kind, text = found.lastgroup, found[found.lastgroup or 0]
        if kind == "csi":
            self._row.sequence(text)
        elif kind == "other":
            self._other(text)
        elif kind == "lines" and not self._keys:
            self._row.print_lines()
        elif kind == "text" and not self._keys:
            self._row.print(len(text))
        elif kind in {"lines", "text"}:
            for character in text:
                self._other(character)

    def _other(self, text: str) -> None:
        if len(text) > 1:
            self._row.lose_all()
        elif text < " ":
            self._row.control(text)
        elif "\x80" <= text < "\xa0":
            self._row.lose_all()
        elif unicodedata.category(text)[0] in "MC" or unicodedata.east_asian_width(text) in "WF":
            self._row.lose_column()
        else:
            self._printed(text)

    def _printed(self, character: str) -> None:
        if self._keys and self._row.column == self._keys[0].column:
            if self._keys[0].character != character:
                self._forget()
            else:
                self._sure = self._sure or self._keys[0].epoch == self._epoch
                self._keys.popleft()
        self._row.print(1)
