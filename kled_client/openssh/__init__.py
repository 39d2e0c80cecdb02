"""OpenSSH's own configuration: the block that kled writes, and how it gets there."""
