"""Terraform state in the coordinator: the `http` backend, and readers of the state file."""
