"""What `kled doctor` probes, and what it concludes."""
