"""A standby connection: dialled back and kept idle; which stream it becomes is said on it last.

While a workspace is in use its agent has a few such connections to the coordinator, so that opening
a stream costs no round trip between the two. The coordinator asks for one with a `dial` of kind
"reserve". What it later writes first is one frame

    length[4] big-endian, up to DIAL_MAX_BYTES    then a `dial` as CBOR, as on the control link

and what follows is the stream of that dial. No I/O.
"""

from __future__ import annotations

import struct
from typing import Final

from kled_wire.control import codec, messages
from kled_wire.errors import ProtocolError

KIND: Final = "reserve"
# The feature of an agent's hello that stands for this kind.
FEATURE: Final = "reserve"
DIAL_MAX_BYTES: Final = 4096
_LENGTH: Final = struct.Struct("!I")


def encode_dial(dial: messages.Dial) -> bytes:
    """The frame that makes an idle connection the stream of `dial`."""
    body = codec.encode(dial)
    return _LENGTH.pack(len(body)) + body


def decode_dial(buffer: bytes | bytearray) -> tuple[messages.Dial, bytes] | None:
    """The dial at the start of `buffer` and what comes after it; None when more must come.

    Raises ProtocolError("reserve_malformed"), or what the codec says.
    """
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if length > DIAL_MAX_BYTES:
        raise ProtocolError("reserve_malformed", f"a dial of {length} bytes")
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    dial = codec.decode(bytes(buffer[_LENGTH.size : end]))
    if not isinstance(dial, messages.Dial) or dial.kind == KIND:
        raise ProtocolError("reserve_malformed", f"{dial.type} came where a dial was expected")
    return dial, bytes(buffer[end:])
