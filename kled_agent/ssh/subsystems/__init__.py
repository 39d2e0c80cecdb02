"""SSH subsystems: sftp, and those of our own for ports, datagrams and named sessions."""
