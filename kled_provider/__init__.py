"""The Terraform provider `kled`, with which a template describes a workspace.

Knows Terraform's plugin protocol and nothing of the coordinator: whoever runs Terraform gives it
a `Host` (host.py). Start at `serve.py` (the way in), then `plugin/service.py` (the protocol) and
`kled/` (the resources).
"""
