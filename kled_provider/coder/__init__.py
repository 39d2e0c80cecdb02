"""The provider `coder/coder`: templates that people already have, served by Kled's own handlers.

It has the names, those from before 2.0 too; what they mean is in `kled_provider.kled`.
"""
