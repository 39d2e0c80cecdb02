"""The SSH server: asyncssh in a trio-asyncio loop, imported when the first session comes.

Nothing outside this folder imports asyncssh or asyncio; an idle agent has neither in memory.
"""
