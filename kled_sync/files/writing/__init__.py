"""Writes to a root: stages what arrives, puts it into place, keeps what it replaces."""
