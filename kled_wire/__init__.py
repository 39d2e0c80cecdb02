"""What the programs of Kled share: errors, names, messages, codecs, transports.

Knows no policy, no database and no command line. Start at `messages.py` (the control plane on
one page) and `transport/upgrade.py` (how a data stream opens).
"""
