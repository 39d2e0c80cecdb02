"""The coordinator: identity, workspaces, builds, the relay and the API.

Must not know what travels inside a stream, nor how a terminal or an SSH server works. Start at
`app.py` (every part and every task in one place), then `services.py` and `api/app.py`.
"""
