"""Child processes that get sockets from the coordinator, are restarted, and outlive it.

What they do with the sockets is the business of their own rooms, `relay` and `offload`.
"""
