"""Authentication: users, passwords, tokens, one-time codes, and the audit log."""
