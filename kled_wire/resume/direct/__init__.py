"""Direct paths: where an agent can be reached, when that is tried, and the way there."""
