"""How the provider `kata` is reached: within this process by root, else by a service of root's."""
