"""Direct paths: offers of addresses, when each path is tried, and the search for one that works."""
