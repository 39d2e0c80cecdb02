"""Watches for changes. An event only means that a directory must be scanned again."""
