"""containerd's gRPC API, as far as Kled uses it: one module for each of its services.

From the .proto files of containerd 1.6 (https://github.com/containerd/containerd, api/services),
which 1.7 and 2.1 still serve. Start at `api.py`; `caller.py` keeps the connection.
"""
