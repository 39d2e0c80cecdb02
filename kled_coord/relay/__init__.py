"""The data plane: a client asks, an agent dials back, the two become one stream.

Never looks inside a stream. Start at `broker.py`.
"""
