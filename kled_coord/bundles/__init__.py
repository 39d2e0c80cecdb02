"""The agent as one directory for any Linux image: kept, served, and started by a script."""
