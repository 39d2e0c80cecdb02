"""The coordinator's API as the command line uses it."""
