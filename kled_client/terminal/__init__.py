"""The user's terminal: raw mode, sizes, escapes, predicted echo."""
