"""Terraform plugin protocol 6 on trio and h2, independent of Kled's own resources.

The messages are those of `tfplugin6.proto` (OpenTofu docs/plugin-protocol/tfplugin6.8.proto).
Start at `service.py`.
"""
