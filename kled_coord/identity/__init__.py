"""Who is asking: users, passwords, tokens, one-time codes, and the record of what they did."""
