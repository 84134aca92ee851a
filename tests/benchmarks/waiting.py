"""
Triggers that wait in one event loop, run as the triggerer runs them: a task and a greenback portal for each.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.benchmarks.peers import Peer
from tests.benchmarks.processes import log_as_airflow
from tests.benchmarks.server import allow_many_sockets

#: Seconds after which whoever has not fired is left out.
LONGEST = 90.0


def prepare() -> None:
    """Make this process like the triggerer's."""
    allow_many_sockets()
    log_as_airflow()


class Waiting:
    """
    The triggers of one peer.

    :param interval: their poll interval, in seconds.
    """

    def __init__(self, peer: Peer, interval: float) -> None:
        self._peer = peer
        self._interval = interval
        self._tasks: list[asyncio.Task[None]] = []
        #: When each has fired.
        self.fired: dict[int, float] = {}
        #: What those said that have failed.
        self.failures: list[str] = []

    async def run_one(self, index: int) -> None:
        """Run a trigger to its event: imports and what is made once are not charged to those who come later."""
        await asyncio.wait_for(self._run(index), LONGEST)
        if not self.fired.pop(index, 0):
            message = f"the first trigger gave no event: {self.failures}"
            raise RuntimeError(message)

    async def start(self, first: int, last: int, *, seconds: float) -> None:
        """Start the triggers of some clusters, evenly over some seconds."""
        start = time.monotonic()
        for place, index in enumerate(range(first, last)):
            await asyncio.sleep(max(0.0, start + seconds * place / (last - first) - time.monotonic()))
            self._tasks.append(asyncio.create_task(self._run(index)))

    async def until_over(self) -> None:
        """Wait until all are over, or for a time that is long enough."""
        await asyncio.wait(self._tasks, timeout=LONGEST)

    async def _run(self, index: int) -> None:
        import greenback

        await greenback.ensure_portal()
        trigger: Any = self._peer.trigger(index, self._interval)
        try:
            async for _ in trigger.run():
                self.fired[index] = time.monotonic()
        except Exception as error:  # noqa: BLE001 - peers fail in their own ways, which is a figure
            self.failures.append(f"{type(error).__name__}: {error}")
        finally:
            await trigger.cleanup()
