"""Hints that something changed. An event only ever means: look at this directory again."""
