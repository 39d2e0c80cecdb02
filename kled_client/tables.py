"""Tables that fit: on a narrow terminal columns are left out, and no cell is ever cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from kled_wire.text import printable

Columns = Mapping[str, Sequence[str]]
_GAP: Final = 2
# The last column is often prose: it may go over several lines, in this width at least.
_PROSE_MIN: Final = 24


def make_table(
    columns: Columns, spare: Sequence[str], room: int | None, colours: Mapping[str, StyleType]
) -> Table:
    """A table of `columns` (heading → one cell per row) for `room` columns of text, None: any.

    Columns named in `spare` are left out one by one, the first first, until the rest fits. The
    table is wider than `room` where what has to stay does not fit: then the terminal wraps it.
    """
    safe = {heading: [printable(cell) for cell in cells] for heading, cells in columns.items()}
    shown = fit_columns(safe, spare, room)
    widths = _natural_widths(shown)
    if room is not None and widths:
        widths[-1] = min(widths[-1], max(room - _needed(widths[:-1]) - _GAP, _prose(widths[-1])))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for heading, width in zip(shown, widths, strict=True):
        table.add_column(heading, width=width, overflow="fold")
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*(Text(cell, colours.get(cell, "")) for cell in cells))
    table.width = _needed(widths)
    return table


def fit_columns(columns: Columns, spare: Sequence[str], room: int | None) -> Columns:
    """The columns that are shown in `room`, in their order."""
    shown = dict(columns)
    if room is None:
        return shown
    for heading in spare:
        widths = _natural_widths(shown)
        if _needed([*widths[:-1], *map(_prose, widths[-1:])]) <= room:
            break
        del shown[heading]
    return shown


def _natural_widths(columns: Columns) -> list[int]:
    return [max(map(cell_len, (heading, *cells))) for heading, cells in columns.items()]


def _prose(width: int) -> int:
    return min(width, _PROSE_MIN)


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(len(widths) - 1, 0)
