"""Resource `kata_network`: networks of containers by CNI plugins (CNI specification 1.0.0).

`conflist.py`, `results.py`, `files.py` and `subnets.py` decide; `plugins.py`, `namespaces.py`
and `attaching.py` do; `resource.py` is `kata_network`.
"""
