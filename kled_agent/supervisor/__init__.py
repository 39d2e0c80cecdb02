"""The first process of a container: runs the image's command and the agent beside it.

`job.py` is what it is told to run, `decisions.py` decides, `running.py` carries out, and
`programs.py` starts a program. Standard library alone: it stays in memory as long as the container,
beside the agent.
"""
