"""
An event loop beside a worker's own thread.

A task runs in the main thread, where Airflow's signals strike, and must be able to act on them at any time; what it
waits for is written as coroutines, the same as in the triggerer. It imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

#: Seconds that the loop is given to end.
_END_SECONDS = 5.0


class BackgroundLoop:
    """Runs coroutines in a thread of its own, for as long as a ``with`` block lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="together-background", daemon=True)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine; it is no trouble to call this inside of a signal handler."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait([self.start(_cancel_others())], timeout=_END_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=_END_SECONDS) if others else None
