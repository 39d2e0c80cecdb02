"""One side of a sync as the session sees it: the streams to an endpoint, and what it told."""
