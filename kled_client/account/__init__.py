"""Who the user is here: profile, credentials, certificate. Standard library only."""
