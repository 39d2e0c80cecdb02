"""The client of Kled: the `kled` command and its parts.

`__main__.py` is where it starts. `kled stream`, which ssh runs for every connection, goes to
`stream/command.py` and loads only the standard library; everything else goes to `cli/main.py`.
`api` speaks to the coordinator, `ssh` to the agent through it.
"""
