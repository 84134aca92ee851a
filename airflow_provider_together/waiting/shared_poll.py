"""
One poller for all who wait through one client, so that ten thousand triggers ask as often as one.

It adds nothing to :mod:`.rounds` but a task that lets them run and the way of a look to the one whom it concerns.
There is one poller for each :class:`~.client.AsyncClient`, hence for each connection and event loop; its task starts
with the first who waits and ends with the last.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import weakref
from collections import deque

from airflow_provider_together.api.call import Note
from airflow_provider_together.api.client import AsyncClient, NoteTaker
from airflow_provider_together.exceptions import TransientError
from airflow_provider_together.waiting.gone import GoneWait, ask_again
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.rounds import Board, Waiter, rounds

log = logging.getLogger(__name__)

#: How many who wait are woken in one turn of the event loop: a region that becomes READY as a whole must not hold up
#: everybody else's triggers.
_WOKEN_AT_ONCE = 50


async def watch(client: AsyncClient, wait: ReadyWait | GoneWait, *, note: NoteTaker) -> Look:
    """
    Wait for a cluster until there is a verdict, sharing the questions with all others of this client.

    :param client: lent for as long as this lasts.
    :param note: gets each note, in the context of the caller.
    :raises SpecError: if the wait's cluster id is none.
    """
    client.dialect.get_cluster(wait.cluster_id)  # checks the id before it comes among the others
    poller = _pollers.get(client)
    if poller is None:
        poller = _pollers[client] = _Poller()
    looks = _Looks(poller)
    waiter = Waiter(wait, looks.put)
    poller.add(waiter, client)
    try:
        while True:
            look = await looks.get()
            if look.news:
                note(Note(look.news))
            if look.is_unheard and isinstance(wait, GoneWait):
                await client.run(ask_again(client.dialect, wait), note=note)
            if look.is_over:
                return look
    finally:
        await poller.remove(waiter)


class _Looks:
    """The looks on their way to one who waits; a queue of asyncio's would need a kilobyte for each."""

    __slots__ = ("_arrived", "_looks", "_poller")

    def __init__(self, poller: _Poller) -> None:
        self._poller = poller
        self._looks: list[Look] = []
        self._arrived: asyncio.Future[None] | None = None

    def put(self, look: Look) -> None:
        self._looks.append(look)
        self._poller.wake_soon(self)

    def wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def get(self) -> Look:
        while not self._looks:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
            self._arrived = None
        return self._looks.pop(0)


class _Poller:
    def __init__(self) -> None:
        self._board = Board(phase=random.random())  # noqa: S311 - no secret
        self._task: asyncio.Task[None] | None = None
        self._somebody_came = asyncio.Event()
        self._to_wake: deque[_Looks] = deque()

    def add(self, waiter: Waiter, client: AsyncClient) -> None:
        self._board.add(waiter, now=client.now())
        self._somebody_came.set()
        if self._task is None or self._task.done():
            # In a context of its own: what it logs is not the first one's, whose log ends before this does.
            name = f"GPU clusters of {client.settings.label}"
            self._task = asyncio.create_task(self._run(client), name=name, context=contextvars.Context())

    async def remove(self, waiter: Waiter) -> None:
        self._board.remove(waiter)
        if not self._board and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})  # the client may be closed after this

    def wake_soon(self, looks: _Looks) -> None:
        if not self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._to_wake.append(looks)

    def _wake_some(self) -> None:
        for _ in range(min(_WOKEN_AT_ONCE, len(self._to_wake))):
            self._to_wake.popleft().wake()
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)

    async def _run(self, client: AsyncClient) -> None:
        while self._board:
            try:
                await client.run(rounds(client.dialect, self._board), note=_log, sleep=self._sleep)
            except Exception as error:
                log.exception("Looking at GPU clusters failed by a fault of this package; it goes on after a pause.")
                fault = TransientError(f"Looking at GPU clusters failed by {type(error).__name__} in the triggerer.")
                self._board.on_crash(fault, now=client.now())

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not while somebody new wants to be looked for."""
        try:
            async with asyncio.timeout(seconds):
                await self._somebody_came.wait()
        except TimeoutError:
            return
        self._somebody_came.clear()


_pollers: weakref.WeakKeyDictionary[AsyncClient, _Poller] = weakref.WeakKeyDictionary()


def _log(note: Note) -> None:
    log.warning("%s", note.message)
