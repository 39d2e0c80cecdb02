"""Which paths a sync leaves alone: git's rules (gitignore(5)), and presets of them. No I/O."""
