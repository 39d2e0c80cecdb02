"""Paths of this machine that a template names: only what the owner's roots allow, without links.

Start at `beneath.py`.
"""
