"""Reads a root: its names, entries and contents, and the index that spares reading them again."""
