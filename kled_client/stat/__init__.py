"""The use of processor, memory and disk in a workspace, relative to its limits (`kled stat`)."""
