"""Hosts beside a port. Pure; `kled stream` loads it."""

from __future__ import annotations


def bracketed(host: str) -> str:
    """A host as a URL and `HOST:PORT` have it: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host
