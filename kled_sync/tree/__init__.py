"""The data model of a sync: paths, entries, the tree of them, and their format on disk."""
