"""Resource `kata_volume`: directories that outlive containers.

`stored.py` keeps them, `populate.py` fills a new one, `holding.py` is the lock that a running task
has, `mounts.py` says how a container gets one, `resource.py` is the resource.
"""
