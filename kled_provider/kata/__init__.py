"""The Terraform provider `kata`: workspaces on containerd, in virtual machines by Kata Containers.

`owner/` is what the machine's owner lets templates choose among; it must know nothing of the rest.
`machine.py` is what every resource is given; each resource has a room. Start at `provider.py`.
"""
