"""`kled cp`: files over SFTP, from side to side."""
