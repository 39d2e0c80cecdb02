"""Direct paths: an agent's addresses, when they are tried, and the connection to them."""
