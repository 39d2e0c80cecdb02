"""The code that Kled's programs share: errors, names, messages, codecs, transports.

Knows no policy, no database and no command line. Start at `control/messages.py` (the control plane
on one page), `http/upgrade.py` and `transport/open.py` (how a data stream opens).
"""
