"""gRPC over HTTP/2 on trio: the server that Terraform calls, and the client that calls containerd.

Format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, without compression and
deadlines (`grpc-timeout`). `connection.py` is what both ends share, `protobuf.py` the messages'
wire format.
"""
