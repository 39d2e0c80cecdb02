"""Where a client and an agent find each other: tickets, standby connections, limits."""
