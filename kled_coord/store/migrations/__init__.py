"""Alembic's folder: one file per change in `versions`."""
