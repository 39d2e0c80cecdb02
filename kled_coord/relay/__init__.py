"""The data plane: a client asks, an agent dials back, and the relay joins the two transports.

Never looks inside a stream. Start at `broker.py`.
"""
