"""
Reading once what many ask for at the same time.

A triggerer that starts takes up thousands of triggers at once, each of which reads the same connection; Airflow
answers one such read after the other, in tens of milliseconds each.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_under_way: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Task[Any]]] = (
    weakref.WeakKeyDictionary()
)


async def read_once(key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """
    Return what ``read`` returns, or what it returns to others on this event loop who have begun to read it.

    Nothing is kept: a caller that comes after the read reads again.
    """
    tasks = _under_way.setdefault(asyncio.get_running_loop(), {})
    task: asyncio.Task[T] | None = tasks.get(key)
    if task is None:
        task = tasks[key] = asyncio.create_task(read())
        task.add_done_callback(lambda done: _end(tasks, key, done))
    return await asyncio.shield(task)


def _end(tasks: dict[Hashable, asyncio.Task[Any]], key: Hashable, done: asyncio.Task[Any]) -> None:
    del tasks[key]
    if not done.cancelled():
        done.exception()  # where nobody is left to hear of it
