"""Runs a template's scripts and metadata as the sessions' user, and reports their output.

Decided without I/O: `schedule` (what runs when), `cron`, `output` (what is kept of it), `login`
(how a script is started), `units` (what waits for what). `service` and `metadata` run them, and
`reporting` tells the coordinator.
"""
