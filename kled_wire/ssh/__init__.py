"""The code that both ends of an SSH connection share, with and without asyncssh."""
