"""How bytes pass on once both are there: handed to relay processes, which splice them."""
