"""SSH subsystems: sftp, and Kled's own for ports, datagrams and named sessions."""
