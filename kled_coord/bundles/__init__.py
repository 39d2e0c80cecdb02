"""Bundles, which run the agent in any Linux image: stored, served, and started by a script."""
