"""Templates and their immutable versions: check an upload, keep it."""
