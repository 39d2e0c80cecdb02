"""The sync protocol: blocks, messages, and file contents. No I/O."""
