"""
Measured process: the server fails while N triggers wait, and all clusters become READY in the middle of that.

Nobody can know of it before the server answers again, so an event during the fault is one too early, and an event that
never comes is a wait that the fault has ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.benchmarks.measure import cpu_during
from tests.benchmarks.peers import PEERS
from tests.benchmarks.processes import Control, arguments, tell
from tests.benchmarks.waiting import Waiting, prepare


async def figures(
    *, peer: str, count: int, interval: float, status: int, seconds: float, retry_after: float, port: int
) -> dict[str, Any]:
    control, waiting = Control(port), Waiting(PEERS[peer], interval)
    await waiting.run_one(count)
    await waiting.start(0, count, seconds=interval)
    await asyncio.sleep(2.0)  # until the last one has been looked for

    before = control.counters()
    control.fail(status, seconds=seconds, retry_after=retry_after)
    over = time.monotonic() + seconds
    control.ready_from(over - seconds / 2)
    cpu = await cpu_during(seconds)
    after = control.counters()
    await waiting.until_over()
    return {
        "requests": after["faults"] - before["faults"],
        "cpu": cpu,
        "early": sum(1 for moment in waiting.fired.values() if moment < over),
        "events": len(waiting.fired),
        "last": max(waiting.fired.values(), default=over) - over,
        "failures": len(waiting.failures),
        "failure": next(iter(waiting.failures), ""),
    }


if __name__ == "__main__":
    prepare()
    tell(asyncio.run(figures(**arguments())))
