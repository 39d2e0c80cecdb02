"""The SSH server: asyncssh in a trio-asyncio loop, imported at the first session.

Nothing outside this folder imports asyncssh or asyncio; an idle agent has neither in memory.
"""
