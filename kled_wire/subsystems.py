"""Names of the SSH subsystems (RFC 4254, section 6.5) that are Kled's own."""

from __future__ import annotations

from typing import Final

SYNC: Final = "kled-sync"
