"""A template's scripts and metadata, run as the sessions' user: when, how, and what they print.

Decided without I/O: `schedule` (what runs when), `cron`, `output` (what is kept of it), `login`
(how a script is started), `units` (what waits for what). `service` and `metadata` run them, and
tell the coordinator.
"""
