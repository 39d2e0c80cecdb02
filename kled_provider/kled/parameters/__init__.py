"""The values that a workspace's owner chooses: declarations, checks and presets."""
