"""The provider `coder/coder`: runs existing templates with Kled's own handlers.

It has the names, those from before 2.0 too; what they mean is in `kled_provider.kled`.
"""
