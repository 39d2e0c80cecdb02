"""Reads a template's files, which are untrusted: the archive, HCL's outline, names and places."""
