"""Processes that terminate TLS and WebSocket framing.

Start at `pool.py`, the coordinator's side. The process is `server.py`; a connection in it is
`connection.py`, its layers are `tls.py` and `websocket.py`.
"""
