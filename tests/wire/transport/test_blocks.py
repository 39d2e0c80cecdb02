"""Blocks that are freed are used again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Fifty times four blocks that live together, as those of a reader and a slower writer do.
_FAULTS = """
import resource, sys
from kled_wire.transport.blocks import keep_blocks
if sys.argv[1] == "kept":
    keep_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    held = [b"x" * (256 * 1024) for _ in range(4)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, *arguments], check=True, capture_output=True
    )
    return int(done.stdout)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="it is glibc that maps")
def test_blocks_that_are_freed_are_not_mapped_again() -> None:
    assert 10 * _faults("kept") < _faults("mapped")
