"""Processes that hold a named session's shell and terminal, and the agent's end of them."""
