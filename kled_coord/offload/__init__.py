"""TLS and WebSocket framing are taken off connections in processes of their own.

Start at `pool.py`, the coordinator's side. The process is `server.py`; a connection in it is
`connection.py`, what is taken off is `tls.py` and `websocket.py`.
"""
