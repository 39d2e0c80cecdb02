"""The `kled` command line. `main.py` lists the commands; each file holds one or a few of them.

Modules are loaded when their command runs (`lazy.py`), so that help and short commands are quick.
"""
