"""Builds: the queue, the workers that run Terraform, logs, and Terraform state."""
