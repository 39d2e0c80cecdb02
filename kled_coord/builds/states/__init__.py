"""State that Terraform keeps with us: the `http` backend and what a state file says."""
