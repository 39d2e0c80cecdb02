"""Starts and stops one Terraform process: its binary, arguments, environment and files."""
