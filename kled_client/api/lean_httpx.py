"""httpx without what no command uses: its own command line, and decoders of other people's answers.

Both are optional there, and take longer to import than all the rest of it: the first is a program
on click, rich and pygments, which are installed for us.
"""

from __future__ import annotations

from kled_wire.hiding import hidden

with hidden("httpx._main", "zstandard", "brotli", "brotlicffi"):
    import httpx

__all__ = ["httpx"]
