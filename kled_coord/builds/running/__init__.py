"""A worker at work: a claimed build from its job to its end, in directories of its own."""
