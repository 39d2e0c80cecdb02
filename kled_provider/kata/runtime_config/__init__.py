"""What may stand in a configuration of runtime-rs, Kata's runtime, and whether Kata would take it.

`keys.py` says how a key is described, `hypervisor_keys.py` and `other_keys.py` are the tables of
all keys, `rules.py` holds what goes together, `composing.py` makes the configuration that a
template asks for. All of that is without I/O.
"""
