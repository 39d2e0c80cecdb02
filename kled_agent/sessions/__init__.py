"""The programs of sessions, on a pseudo-terminal or on pipes, independent of SSH."""
