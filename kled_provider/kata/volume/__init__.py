"""Resource `kata_volume`: directories that outlive containers."""
