"""The agent's end of the control plane: dial, stay, answer, redial."""
