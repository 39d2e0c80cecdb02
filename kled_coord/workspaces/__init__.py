"""Workspaces, their agents, and the sessions opened to them. Start at `service.py`."""
