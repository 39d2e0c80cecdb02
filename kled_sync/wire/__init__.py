"""What the ends of a sync say to each other: blocks, messages, and file contents. No I/O."""
