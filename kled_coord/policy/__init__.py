"""What may be done by whom, decided without I/O. Start at `decide.py`."""
