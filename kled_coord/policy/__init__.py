"""The policy: who may do what, decided without I/O. Start at `decide.py`."""
