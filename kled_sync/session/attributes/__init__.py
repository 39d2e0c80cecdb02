"""Owners, special bits, extended attributes and hard links, beside the contents."""
