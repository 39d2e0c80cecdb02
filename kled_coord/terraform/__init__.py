"""Runs Terraform for a build: finds it, starts it, reads it, stops it, and serves providers.

Knows nothing of the database, the queue or HTTP. Start at `run.py` (a whole build), then
`runner.py` (one child process) and `providers.py` (reattach).
"""
