"""Readings of memory and load for the coordinator."""
