"""Draws a session's screen from its last output, for a client that attaches.

The output that counts (plan.py) is played into a terminal emulator (pyte), and what is then to be
seen is written down. The holder does that in a process of its own, which is gone afterwards: the
emulator's memory and its mistakes are never the session's.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyte
from pyte import charsets, graphics
from wcwidth import wcwidth

from kled_wire.screenmodes import ESCAPE, ScreenModes

HISTORY_LINES: Final = 1000


class _Screen(pyte.Screen):
    """pyte's screen with scrollback, and what it lacks of xterm."""

    def __init__(self, columns: int, lines: int, history: int) -> None:
        self.history: deque[Any] = deque(maxlen=history or 1)
        self._keeps = bool(history)
        super().__init__(columns, lines)

    def index(self) -> None:
        top, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and self._keeps:
            self.history.append(self.buffer[0])  # pyte moves lines, and changes none here
        super().index()

    def scroll(self, count: int, *, up: bool) -> None:
        """SU and SD."""
        top, bottom = self.margins or (0, self.lines - 1)
        x, y = self.cursor.x, self.cursor.y
        for _ in range(min(count, self.lines)):
            self.cursor.y = bottom if up else top
            super().index() if up else self.reverse_index()
        self.cursor.x, self.cursor.y = x, y

    def repeat(self, count: int) -> None:
        """REP: the last character again."""
        x = self.cursor.x - 1
        if 0 <= x < self.columns:
            self.draw((self.buffer[self.cursor.y][x].data or " ") * min(count, self.columns))

    def debug(self, *args: Any, **kwargs: Any) -> None:
        """A sequence that changes nothing to be seen."""

    def write_process_input(self, data: str) -> None:
        """Nobody is asked here: the answer was the business of whoever was attached."""


def draw(
    parts: tuple[Iterable[bytes], Iterable[bytes]],
    modes: ScreenModes,
    drawn: tuple[int, int],
    shown: tuple[int, int],
) -> bytes:
    """What brings a terminal of size `shown` to this picture, drawn for size `drawn`.

    `parts` is the output of the main and of the alternate screen; sizes are columns and rows.
    """
    out = [b"\x1b[0m\x1b(B\x0f\x1b[r\x1b[?6l\x1b[?7h\x1b[4l"]
    main = _play(parts[0], drawn, shown, history=HISTORY_LINES)
    # The current content of the client's terminal goes to its scrollback.
    out.append(b"\x1b[%d;1H" % shown[1] + b"\n" * shown[1] + b"\x1b[H\x1b[2J")
    out += [_line(line, main.columns) + b"\x1b[0m\r\n" for line in main.history]
    out.append(_picture(main))
    if modes.alternate:
        alternate = _play(parts[1], drawn, shown, history=0)
        out += [b"\x1b[?1049h\x1b[r\x1b[0m\x1b[H\x1b[2J", _picture(alternate)]
    return b"".join([*out, modes.restore()])


def _play(
    parts: Iterable[bytes], drawn: tuple[int, int], shown: tuple[int, int], *, history: int
) -> _Screen:
    screen = _Screen(*drawn, history)
    stream = pyte.Stream(screen)
    stream.use_utf8 = False  # line drawing by character sets counts
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for data in parts:
        for piece in _pieces(data, screen):
            stream.feed(decoder.decode(piece))
    if drawn != shown:
        screen.resize(lines=shown[1], columns=shown[0])
    return screen


def _pieces(data: bytes, screen: _Screen) -> Iterator[bytes]:
    """`data` without the sequences that pyte takes for others or prints."""
    done = 0
    for match in ESCAPE.finditer(data):
        csi, start = match["csi"], match.start()
        if csi is None:
            if match["short"] is None or match["short"][:1] in b" %*+-./":
                yield data[done:start]
                done = match.end()
            continue
        if csi[-1:] in b"STb" and csi[:1] not in b"<=>?":
            yield data[done:start]
            done = match.end()
            count = int(csi[:-1]) if csi[:-1].isdigit() else 1
            if csi[-1:] == b"b":
                screen.repeat(count)
            else:
                screen.scroll(count, up=csi[-1:] == b"S")
        elif csi[:1] in b"<=>" or any(c in b" !\"#$'*" for c in csi):
            yield data[done:start]
            done = match.end()
        elif b":" in csi:
            yield data[done:start] + b"\x1b[" + csi.replace(b":", b";")
            done = match.end()
    yield data[done:]


def _picture(screen: _Screen) -> bytes:
    """All of the screen, then margins, cursor and what is drawn with next."""
    lines = b"\x1b[0m\r\n".join(
        _line(screen.buffer[y], screen.columns) for y in range(screen.lines)
    )
    out = [lines, b"\x1b[0m"]
    if screen.margins:
        out.append(b"\x1b[%d;%dr" % (screen.margins.top + 1, screen.margins.bottom + 1))
    x = min(screen.cursor.x, screen.columns - 1)
    out.append(b"\x1b[%d;%dH" % (screen.cursor.y + 1, x + 1))
    out.append(_attributes(screen.cursor.attrs))
    if screen.g0_charset == charsets.VT100_MAP:
        out.append(b"\x1b(0")
    if screen.charset:
        line_drawing = screen.g1_charset == charsets.VT100_MAP
        out.append((b"\x1b)0" if line_drawing else b"\x1b)B") + b"\x0e")
    return b"".join(out)


_PLAIN: Final = ("default", "default", False, False, False, False, False, False)


def _line(line: Any, columns: int) -> bytes:
    cells = [line[x] for x in range(columns)]
    while cells and cells[-1].data == " " and cells[-1][1:] == _PLAIN:
        cells.pop()
    out: list[str] = []
    style: Any = _PLAIN
    for x, cell in enumerate(cells):
        if cell[1:] != style:
            style = cell[1:]
            out.append(_attributes(cell).decode())
        out.append(_text(cells, x))
    return "".join(out).encode()


def _text(cells: list[Any], x: int) -> str:
    """What is in a cell: of a wide character's two cells the second is empty, if it still is."""
    data: str = cells[x].data
    if not data:
        return "" if x and _is_wide(cells[x - 1].data) else " "
    halved = _is_wide(data) and (x + 1 == len(cells) or cells[x + 1].data)
    return " " if halved else data


def _is_wide(data: str) -> bool:
    return bool(data) and wcwidth(data[0]) == 2


_FLAGS: Final = ((1, "bold"), (3, "italics"), (4, "underscore"), (9, "strikethrough"),
                 (7, "reverse"), (5, "blink"))  # fmt: skip
_FOREGROUND: Final = {name: code for code, name in graphics.FG.items()}
_BACKGROUND: Final = {name: code for code, name in graphics.BG.items()}
_FOREGROUND.update({name: code for code, name in graphics.FG_AIXTERM.items()})
_BACKGROUND.update({name: code for code, name in graphics.BG_AIXTERM.items()})

_INDEXED: Final = {name: index for index, name in enumerate(graphics.FG_BG_256)}


def _attributes(char: Any) -> bytes:
    codes = ["0", *(str(code) for code, name in _FLAGS if getattr(char, name))]
    codes += _colour(char.fg, _FOREGROUND, 38) + _colour(char.bg, _BACKGROUND, 48)
    return f"\x1b[{';'.join(codes)}m".encode()


def _colour(name: str, known: dict[str, int], extended: int) -> list[str]:
    if name == "default":
        return []
    if (code := known.get(name)) is not None:
        return [str(code)]
    if (index := _INDEXED.get(name)) is not None:
        return [str(extended), "5", str(index)]
    return [str(extended), "2", *(str(int(name[at : at + 2], 16)) for at in (0, 2, 4))]
