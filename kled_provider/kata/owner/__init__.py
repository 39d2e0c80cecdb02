"""The owner's file of the provider `kata`, /etc/kled/kata.toml: what templates may choose.

The machine's owner names containerd, runtimes, places and credentials there; a template says names
and never a path. `file.py` holds what such a file says, `parsing.py` reads its text without I/O,
`loading.py` reads the file.
"""
