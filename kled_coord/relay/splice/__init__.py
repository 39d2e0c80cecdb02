"""Moves the bytes of joined transports: relay processes splice them."""
