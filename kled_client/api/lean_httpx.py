"""httpx without what no command uses: its own command line, and decoders of other people's answers.

Both are optional there, and take longer to import than all the rest of it: the first is a program
on click, rich and pygments, which are installed for us.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["httpx"]

_UNUSED: Final = ("httpx._main", "zstandard", "brotli", "brotlicffi")

# With None an import raises ModuleNotFoundError (the Python reference, 5.3.1), which httpx expects.
_hidden = [name for name in _UNUSED if name not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]
try:
    import httpx
finally:
    for _name in _hidden:
        del sys.modules[_name]
