"""The process at either end of a sync: it has the files, and does what the session tells it.

It blocks, in two threads: one reads from the session and stages what comes, so that two endpoints
that send at the same time never wait for each other; the other does everything else.
"""
