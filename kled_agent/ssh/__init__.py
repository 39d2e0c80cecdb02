"""The SSH server: asyncssh on its own island, imported when the first session comes.

Nothing outside this folder imports asyncssh or asyncio; an idle agent has neither in memory.
"""
