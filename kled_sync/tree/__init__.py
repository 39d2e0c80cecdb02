"""What a side of a sync has: paths, entries and the tree of them, and their form on disk."""
