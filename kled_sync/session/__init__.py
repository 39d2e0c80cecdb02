"""The session of a sync: it talks to both endpoints and decides, once or continuously."""
