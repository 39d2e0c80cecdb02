"""The version of the software, and of the protocol it speaks."""

from __future__ import annotations

from typing import Final

# The version of pyproject.toml. To ask which distribution is installed would take 10 ms at each
# start.
SOFTWARE_VERSION: Final = "0.1.0"

# Major: incompatible, the peer is refused. Minor: additions a peer may ignore.
PROTOCOL_MAJOR: Final = 1
PROTOCOL_MINOR: Final = 0
PROTOCOL: Final = f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}"


def is_compatible(protocol: str) -> bool:
    """Whether a peer that says `protocol` ("major.minor") can be talked to."""
    major, _, _ = protocol.partition(".")
    return major == str(PROTOCOL_MAJOR)
