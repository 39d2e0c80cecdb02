"""The part of the configuration of OpenSSH that is ours: the block, and how it gets there."""
