"""The user's account on this machine: profile, credentials, certificate. Standard library only."""
