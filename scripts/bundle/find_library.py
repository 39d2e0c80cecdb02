"""In a bundle, this stands for ctypes.util: it finds what the bundle has and runs no program.

The original asks the image's ldconfig, gcc and ld, and would load a C library of another kind into
this process.
"""

import os
import sys


def find_library(name: str) -> str | None:
    """The file name of the bundle's library `lib<name>.so…`, or None."""
    names = sorted(os.listdir(os.path.join(sys.prefix, "lib")))  # noqa: PTH118, PTH208  # at start-up
    return next((found for found in names if found.startswith(f"lib{name}.so")), None)
