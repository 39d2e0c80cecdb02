"""What a template says of a container, its checks, and the OCI specification of it. No I/O."""
