"""How the machine is, as the coordinator wants to hear it."""
