"""The rendezvous of a client and an agent: tickets, standby connections, limits."""
