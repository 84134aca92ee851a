"""
Measured process: N triggers of one peer wait in one event loop, and all their clusters become READY.

One trigger goes through to its event first, then one waits, then all. While all wait, nobody is READY: CPU time and
requests are taken over whole intervals, what the loop costs by itself is subtracted, and the lag of the loop is taken
after that, since the ticker costs CPU time too. Then the clusters become READY evenly over one interval.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.benchmarks.measure import cpu_during, lags, percentile, resident, waited_for_cpu
from tests.benchmarks.peers import PEERS
from tests.benchmarks.processes import Control, arguments, tell
from tests.benchmarks.server import ready_moment
from tests.benchmarks.waiting import Waiting, prepare

#: Intervals over which CPU time and requests are taken, and the lag.
_STEADY, _LAGGING = 3, 2
_IDLE_SECONDS = 2.0
#: Seconds until whoever has started has been looked for.
_SETTLING = 2.0


async def figures(*, peer: str, count: int, interval: float, is_restless: bool, port: int) -> dict[str, Any]:
    control, waiting = Control(port), Waiting(PEERS[peer], interval)
    control.counters(is_restless=is_restless)
    await waiting.run_one(count)  # the server has count clusters, so that this one is READY
    idle = await cpu_during(_IDLE_SECONDS)

    await waiting.start(0, 1, seconds=0.0)
    await asyncio.sleep(_SETTLING)
    memory, cpu = resident(), time.process_time()
    await waiting.start(1, count, seconds=max(interval, count / 1000))
    start_cpu = time.process_time() - cpu
    await asyncio.sleep(_SETTLING)
    memory = resident() - memory

    before = control.counters()
    busy = await cpu_during(_STEADY * interval)
    after = control.counters()
    waited = waited_for_cpu()
    late = await lags(_LAGGING * interval)
    waited = None if waited is None else ((waited_for_cpu() or 0.0) - waited) / (_LAGGING * interval)
    early, failures = len(waiting.fired), len(waiting.failures)

    start = time.monotonic() + 0.2
    control.ready_from(start, span=interval)
    await waiting.until_over()
    moments = {index: ready_moment(index, count=count, start=start, span=interval) for index in waiting.fired}
    seen_after = [moment - moments[index] for index, moment in waiting.fired.items()]
    intervals = (after["now"] - before["now"]) / interval
    return {
        "cpu": (busy - idle) * interval / count,
        "requests": (after["requests"] - before["requests"]) / intervals,
        "lag_p99": percentile(late, 99),
        "lag_max": max(late),
        "waited": waited,
        "start_cpu": start_cpu / (count - 1),
        "memory": memory / (count - 1),
        "seen_p50": percentile(seen_after, 50),
        "seen_p99": percentile(seen_after, 99),
        "events": len(waiting.fired),
        "early": early + sum(1 for seconds in seen_after if seconds < 0),
        "failures": failures,
        "failure": next(iter(waiting.failures), ""),
    }


if __name__ == "__main__":
    prepare()
    tell(asyncio.run(figures(**arguments())))
