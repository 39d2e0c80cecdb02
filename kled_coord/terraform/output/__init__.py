"""Reads what Terraform prints: events, changes, errors, timings."""
