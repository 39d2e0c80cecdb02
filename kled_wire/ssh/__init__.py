"""What both ends of an SSH connection have in common, behind asyncssh and beside it."""
