"""The first process of a container: runs the image's command and the agent beside it.

`job.py` is what it is told, `decisions.py` decides, `running.py` does, `programs.py` starts a program.
Standard library alone: it stays in memory as long as the container, beside the agent.
"""
