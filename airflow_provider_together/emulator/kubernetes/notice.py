"""Waiting on an event loop for something to happen, for some time at the most. It imports nothing of ours."""

from __future__ import annotations

import asyncio
import contextlib


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """
    Return whether an event is set now, or will be within some seconds.

    Not by ``asyncio.wait_for``: before Python 3.12 that swallows the cancellation of its task when both come together,
    and whoever waits for the task's end then waits for ever (https://github.com/python/cpython/issues/86296).
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Notice:
    """A change that several coroutines of one loop wait for; each wakes up at each change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def give(self) -> None:
        """Wake all waiters."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after some seconds without one."""
        await is_set_within(self._event, seconds)
