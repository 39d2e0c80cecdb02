"""The SSH certificate authority: its sealed key and the certificates it signs."""
