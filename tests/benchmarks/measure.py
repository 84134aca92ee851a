"""What is read off a process and its event loop."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

#: Seconds between two ticks of :func:`lags`.
_TICK = 0.01


async def cpu_during(seconds: float) -> float:
    """Return the CPU seconds that this process takes in a second of the coming ones."""
    cpu, start = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - start)


async def lags(seconds: float) -> list[float]:
    """Return by how many seconds a task on this loop that sleeps 10 ms again and again is woken too late."""
    late: list[float] = []
    end = time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        await asyncio.sleep(_TICK)
        late.append(time.monotonic() - start - _TICK)
    return late


def waited_for_cpu() -> float | None:
    """Return the seconds that this thread was ready to run while no core was free; None where nobody tells."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return None


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value below which so many percent lie; infinite if there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))] if ordered else math.inf


def resident() -> int:
    """Return the resident memory of this process in bytes, without garbage."""
    gc.collect()
    memory: int = psutil.Process().memory_info().rss
    return memory
