"""The agent's end of the control plane: dials, answers, and redials."""
