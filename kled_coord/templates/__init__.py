"""Templates and their immutable versions: checks uploads and stores them."""
