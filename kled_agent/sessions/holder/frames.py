"""The frames between the agent and a session's holder on the holder's socket. No I/O.

    frame    kind (1 byte), length (4, big-endian), payload of at most FRAME_BYTES
    payload  the bytes themselves for Input, Output and LogData; else one JSON object

Both ends run as the agent's user, from the same package or from one an upgrade apart: unknown kinds
are skipped and unknown fields ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, get_type_hints

HEAD_BYTES: Final = 5
FRAME_BYTES: Final = 64 * 1024


class FrameError(ValueError):
    """The peer's bytes are not this protocol; the connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Show me the session and, unless `read_only`, let me type.

    With `after`, the raw output from that offset on instead of the screen as it is now.
    """

    columns: int
    rows: int
    width: int = 0
    height: int = 0
    read_only: bool = False
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """Keys that were typed."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """My terminal's new size."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSignal:
    """Signal what is in the foreground; `name` is without SIG."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End the session and all of its programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """Move the session to another name."""

    name: str


@dataclass(frozen=True, slots=True)
class Stat:
    """Ask for Status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLog:
    """Ask for the last `size` bytes of output as LogData, then Done."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """You are attached; output follows, from `offset` on when the screen has been drawn."""

    offset: int


@dataclass(frozen=True, slots=True)
class ScreenOutput:
    """What the terminal shows."""

    data: bytes


@dataclass(frozen=True, slots=True)
class LogData:
    """A piece of what was asked for by ReadLog."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The shell ended, with a code or by a signal; `reason` says why if it was ended."""

    code: int | None = None
    signal: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """What `kled session list` shows. Times are seconds since the epoch, sizes bytes."""

    name: str
    pid: int
    shell_pid: int
    created_at: float
    active_at: float
    clients: int
    watchers: int
    columns: int
    rows: int
    output_total: int
    kept_bytes: int
    program: str


@dataclass(frozen=True, slots=True)
class Done:
    """The request has been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The request was refused."""

    code: str
    message: str


Frame = (
    Attach | Input | Resize | SendSignal | Kill | Rename | Stat | ReadLog
    | Attached | ScreenOutput | LogData | Ended | SessionStatus | Done | Refused
)  # fmt: skip

KINDS: Final[dict[int, type[Any]]] = {
    1: Attach, 2: Input, 3: Resize, 4: SendSignal, 5: Kill, 6: Rename, 7: Stat, 8: ReadLog,
    64: Attached, 65: ScreenOutput, 66: LogData, 67: Ended, 68: SessionStatus, 69: Done,
    70: Refused,
}  # fmt: skip
_NUMBERS: Final = {kind: number for number, kind in KINDS.items()}
_RAW: Final = (Input, ScreenOutput, LogData)


def encode(frame: Frame) -> bytes:
    """One frame as bytes. Raises FrameError when it is too large."""
    payload = (
        frame.data
        if isinstance(frame, _RAW)
        else json.dumps(asdict(frame), separators=(",", ":")).encode()
    )
    if len(payload) > FRAME_BYTES:
        raise FrameError(f"{len(payload)} bytes in a frame, {FRAME_BYTES} allowed")
    return bytes((_NUMBERS[type(frame)],)) + len(payload).to_bytes(4, "big") + payload


def encode_pieces(kind: type[Input | ScreenOutput | LogData], data: bytes) -> bytes:
    """As many frames as `data` needs."""
    return b"".join(
        encode(kind(data[start : start + FRAME_BYTES]))
        for start in range(0, len(data), FRAME_BYTES)
    )


class Decoder:
    """Bytes in, frames out. Holds at most one frame and what came with it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises FrameError, after which it is of no use."""
        self._held += data
        start = 0
        try:
            while len(self._held) - start >= HEAD_BYTES:
                size = int.from_bytes(self._held[start + 1 : start + HEAD_BYTES], "big")
                if size > FRAME_BYTES:
                    raise FrameError(f"a frame of {size} bytes, {FRAME_BYTES} allowed")
                end = start + HEAD_BYTES + size
                if len(self._held) < end:
                    return
                number, payload = self._held[start], bytes(self._held[start + HEAD_BYTES : end])
                start = end
                if (kind := KINDS.get(number)) is not None:
                    yield _decode(kind, payload)
        finally:
            del self._held[:start]


def _decode(kind: type[Any], payload: bytes) -> Frame:
    if kind in _RAW:
        raw: Frame = kind(payload)
        return raw
    try:
        table = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise FrameError(f"{kind.__name__} is not JSON: {exc}") from exc
    if not isinstance(table, dict):
        raise FrameError(f"{kind.__name__} is not an object")
    known = {f.name for f in fields(kind)}
    values = {name: value for name, value in table.items() if name in known}
    for name, wanted in get_type_hints(kind).items():
        if name in values and not _fits(values[name], wanted):
            raise FrameError(f"{kind.__name__}.{name} is {type(values[name]).__name__}")
    try:
        frame: Frame = kind(**values)
    except TypeError as exc:
        raise FrameError(f"{kind.__name__}: {exc}") from exc
    return frame


def _fits(value: object, wanted: Any) -> bool:
    if isinstance(value, bool):
        return wanted is bool
    if wanted is float:
        return isinstance(value, int | float)
    return isinstance(value, wanted)
