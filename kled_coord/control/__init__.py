"""The coordinator's end of the control plane: who is connected, and what their messages change."""
