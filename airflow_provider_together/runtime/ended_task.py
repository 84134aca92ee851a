"""
What a trigger does when a user ends the task that waits in it.

The triggerer cancels ``on_kill`` again in every round, about once a second, and calls it also for a task that lives
on elsewhere. So what has to be undone is a task of its own on the event loop, which outlives the cancels, and asks
for the state of Airflow's task first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from airflow_provider_together.runtime.compat.task_state import is_task_over
from airflow_provider_together.runtime.compat.versions import TRIGGERS_HAVE_ON_KILL

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

log = logging.getLogger(__name__)

#: Seconds that ``on_kill`` waits; Airflow cuts it off after 30. What is undone goes on in the triggerer after that.
_KILL_SECONDS = 25.0

#: What is under way. The event loop keeps only weak references to its tasks.
_under_way: set[asyncio.Task[None]] = set()


class ToldWhenKilled:
    """Lets a trigger's ``on_kill`` be called also where Airflow does not: before 3.3 it cleans up, and no more."""

    #: To be set with the event: the end that follows it is no kill.
    _has_fired = False

    async def on_kill(self) -> None:
        """Undo what the trigger waits for, if a user has ended the task."""
        raise NotImplementedError

    async def cleanup(self) -> None:
        """Before Airflow 3.3, which calls nothing else when a user ends the task, do what ``on_kill`` does."""
        if not TRIGGERS_HAVE_ON_KILL and not self._has_fired:
            await self.on_kill()


async def undo_if_over(trigger: BaseTrigger, undo: Callable[[], Awaitable[None]], *, what: str) -> None:
    """
    Undo something if the trigger's task has ended for good.

    :param undo: does it; what it raises is logged.
    :param what: what is left alone where the task lives on, for the log.
    """
    undoing = asyncio.create_task(_undo(trigger, undo, what))
    _under_way.add(undoing)
    undoing.add_done_callback(_under_way.discard)
    loop = asyncio.get_running_loop()
    end = loop.time() + _KILL_SECONDS
    while not undoing.done() and loop.time() < end:
        try:
            await asyncio.wait({undoing}, timeout=end - loop.time())
        except asyncio.CancelledError:
            continue


async def _undo(trigger: BaseTrigger, undo: Callable[[], Awaitable[None]], what: str) -> None:
    try:
        if await is_task_over(trigger):
            await undo()
        else:
            log.info("%s is left alive: its task was moved or cleared, not ended.", what)
    except Exception:
        log.exception("%s could not be removed after its task was ended.", what)
