"""Resource `kata_container`: a container and its task, in a VM where its runtime makes one."""
