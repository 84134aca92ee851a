"""
What is due when: a priority queue whose entries can be moved and taken out.

The standard library's heap can do neither. Entries that were moved or taken out stay in the heap until their time
comes, or until they are the larger part of it. It imports nothing of the package.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    """Keys, each with one time, the earliest first."""

    def __init__(self) -> None:
        self._times: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._ticket = itertools.count()

    def set(self, key: K, time: float) -> None:
        """Enter a key, or move it to another time."""
        if self._times.get(key) == time:
            return
        self._times[key] = time
        heapq.heappush(self._heap, (time, next(self._ticket), key))
        if len(self._heap) > 2 * len(self._times) + 64:
            self._heap = [(time, next(self._ticket), key) for key, time in self._times.items()]
            heapq.heapify(self._heap)

    def discard(self, key: K) -> None:
        """Take a key out, if it is there."""
        self._times.pop(key, None)
        if not self._times:
            self._heap.clear()

    def first(self) -> tuple[float, K] | None:
        """Return the earliest time and its key, if there is any."""
        while self._heap:
            time, _, key = self._heap[0]
            if self._times.get(key) == time:
                return time, key
            heapq.heappop(self._heap)
        return None

    def __contains__(self, key: K) -> bool:
        return key in self._times

    @property
    def held(self) -> int:
        """How many entries are kept, those among them that were moved or taken out."""
        return len(self._heap)
