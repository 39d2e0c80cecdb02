"""Forwards of TCP and Unix sockets, and sockets made as the user of the session."""
