"""Ignore rules of a sync: git's rules (gitignore(5)), and presets of them. No I/O."""
