"""The probes of `kled doctor`, and its conclusions."""
