"""Data source `kata_host`: what this machine can do, and what will not work here and why."""
