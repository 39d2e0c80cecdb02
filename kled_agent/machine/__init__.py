"""What the agent knows of the machine that it runs on: users, ports, processes, addresses."""
