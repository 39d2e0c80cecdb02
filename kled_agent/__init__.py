"""The agent: the daemon in a workspace that serves terminals, files and forwards over SSH.

Knows the coordinator only by its control messages, and no database or policy. Start at `app.py`:
the whole tree of tasks is there.
"""
