"""Programs that a session runs: on a pseudo-terminal or on pipes. Knows nothing of SSH."""
