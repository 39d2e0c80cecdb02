"""The run of a claimed build by a worker, in directories of its own."""
