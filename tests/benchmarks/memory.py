"""
Measured process: what one more trigger that waits keeps in memory, without garbage and without what is made once.

Counted by tracemalloc, as the difference between one who waits and N. It slows a process down, so that nothing else is
taken from it. A trigger that asks nothing tells how much of it is Airflow's and asyncio's: the task and the portal.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

from tests.benchmarks.peers import PEERS
from tests.benchmarks.processes import arguments, tell
from tests.benchmarks.waiting import Waiting, prepare


async def figures(*, peer: str, count: int, interval: float, port: int) -> dict[str, Any]:
    del port
    waiting = Waiting(PEERS[peer], interval)
    if peer != "nothing":
        await waiting.run_one(count)
    tracemalloc.start()
    await waiting.start(0, 1, seconds=0.0)
    one = await _settled(interval)
    await waiting.start(1, count, seconds=interval)
    return {"kept": (await _settled(interval) - one) / (count - 1)}


async def _settled(interval: float) -> int:
    """Return the bytes that are held once everybody has looked."""
    await asyncio.sleep(0.7 * interval)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


if __name__ == "__main__":
    prepare()
    tell(asyncio.run(figures(**arguments())))
