"""The control plane: messages between agent and coordinator, their bytes, and the link."""
