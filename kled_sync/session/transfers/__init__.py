"""Carries out what was decided: contents, moves, renamed directories."""
