"""One reading of memory and load (psutil)."""

from __future__ import annotations

import os

import psutil

from kled_wire.control.messages import Report


def sample_report(streams: int) -> Report:
    """Bytes in use and in all, the one-minute load, and how many data streams are open."""
    memory = psutil.virtual_memory()
    return Report(
        memory_total_bytes=memory.total,
        memory_used_bytes=memory.total - memory.available,
        load_1m=os.getloadavg()[0],
        streams=streams,
    )
