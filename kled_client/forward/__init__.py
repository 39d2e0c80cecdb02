"""Port forwards: what is asked for, who serves it, and keeping it up in the background."""
