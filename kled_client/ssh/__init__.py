"""SSH connections to a workspace, with asyncssh over a resumable stream."""
