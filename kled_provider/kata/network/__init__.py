"""Resource `kata_network`: networks by CNI, and the network namespaces of containers."""
