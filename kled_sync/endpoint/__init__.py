"""The endpoint of a sync: the process that has the files and executes the session's requests.

It blocks, in two threads: one reads from the session and stages what comes, so that two endpoints
that send at the same time never wait for each other; the other does everything else.
"""
