"""What containers print, in files: a process for each outlives coordinator and containerd.

`logger.py` is that process, `keeping.py` starts, finds and ends it.
"""
