"""Confines the programs of templates: process and mount namespaces by bubblewrap (bwrap(1)).

`system.py` finds what of this machine a confined program may see, `bubblewrap.py` turns that into
arguments, `choice.py` decides whether bubblewrap is used. Knows nothing of Terraform or workspaces.
"""
