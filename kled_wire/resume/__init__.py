"""Streams that survive their transports: numbered bytes, acks, replay.

Wrapped around a stream at both ends, never at the coordinator. `frames.py` is the wire format on
one page, `state.py` what one end knows and decides without I/O; `stream.py` moves the bytes under
Trio, the client's `kled stream` moves them with a bare select loop.
"""
