"""What is to be done: three trees in, actions out. No I/O."""
