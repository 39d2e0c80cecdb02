"""The coordinator's end of the control plane: connected agents, and effects of their messages."""
