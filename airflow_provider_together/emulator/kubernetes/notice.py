"""Telling all who wait on an event loop that something has changed. It imports nothing of ours."""

from __future__ import annotations

import asyncio


class Notice:
    """A change that several coroutines of one loop wait for; each wakes up at each change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def give(self) -> None:
        """Wake all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after some seconds without one."""
        try:
            await asyncio.wait_for(self._event.wait(), max(seconds, 0.0))
        except TimeoutError:
            return
