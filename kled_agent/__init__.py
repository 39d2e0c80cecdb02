"""The daemon in the VM or on a host: terminals, files and forwards over SSH, dialled out.

Knows the coordinator only by its control messages, and no database or policy. Start at `app.py`:
the whole tree of tasks is there.
"""
