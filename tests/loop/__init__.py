"""The asyncio loop. Every body runs on asyncio's own loop as well, which says what is right."""
