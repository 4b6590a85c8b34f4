"""Coroutine twins of everything that blocks, for asyncio and trio."""
