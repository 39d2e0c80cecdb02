"""Processes beside the coordinator that are handed sockets: supervised, pooled, outliving it.

What they do with the sockets is the business of their own rooms, `relay` and `offload`.
"""
