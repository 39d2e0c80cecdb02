"""What a workspace uses of processor, memory and disk, as its limits have it (`kled stat`)."""
