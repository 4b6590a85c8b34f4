"""How everything that blocks has coroutine methods, for asyncio and trio."""
