"""The HTTP API of docs/protocol.md, one router per resource. Start at `app.py`."""
