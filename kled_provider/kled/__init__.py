"""The `kled` provider's resources, one file each. Start at `provider.py`, which lists them."""
