"""
Two ways to run what the engine only describes.

:class:`Script` drives a flow by hand with scripted answers and a clock that is a number, as the flows' and
the polling's tests need it. :class:`Driving` runs either of the two real drivers by one name, so that each
test of a driver is written once. It opens no socket by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from airflow_provider_together.api.call import Ask, Call, Flow, Note, Pause, Save, Step
from airflow_provider_together.api.client import AsyncClient, Client
from airflow_provider_together.api.models import Cluster, Listing
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.lifecycle.owner import Record
from airflow_provider_together.lifecycle.reservation import Reservation

T = TypeVar("T")

Handler = Callable[[httpx.Request], httpx.Response]
#: What the server does about one request: give a result, or fail.
Answer = Any


@dataclass
class Script:
    """
    Drives one flow, and is the memory of its owner.

    :param answers: results or errors of the flow's calls, in order; the last one goes on for ever.
    :param record: what the owner has on record at the beginning; the flow changes it.
    :param now: epoch seconds at the beginning; a pause of the flow moves it.
    :param most_steps: where a flow that never ends is given up.
    """

    answers: Sequence[Answer]
    record: Record = field(default_factory=Record)
    now: float = 1000.0
    most_steps: int = 2000
    steps: list[Step] = field(default_factory=list)
    #: What was saved, by the name of the method and what it was about.
    saved: list[tuple[str, str]] = field(default_factory=list)

    def recall(self) -> Record:
        return self.record

    def begin(self, cluster_name: str, reservation: Reservation | None) -> None:
        self.saved.append(("begin", cluster_name))
        self.record = self.record.begun(cluster_name, reservation)

    def withdraw(self) -> None:
        self.saved.append(("withdraw", ""))
        self.record = self.record.withdrawn()

    def keep(self, cluster: Cluster) -> None:
        self.saved.append(("keep", cluster.cluster_id))
        self.record = self.record.kept(cluster, now=self.now)

    def drive(self, flow: Flow[T]) -> T:
        """Run the flow to its end and return its result."""
        left = list(self.answers)
        try:
            step = next(flow)
            while len(self.steps) < self.most_steps:
                self.steps.append(step)
                answer = self._answer(step, left)
                step = flow.throw(answer) if isinstance(answer, TogetherError) else flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        message = f"the flow is not over after {self.most_steps} steps"
        raise AssertionError(message)

    def _answer(self, step: Step, left: list[Answer]) -> Any:
        if isinstance(step, Call):
            answer = left.pop(0) if len(left) > 1 else left[0]
            return Listing(answer) if type(answer) is list else answer
        if isinstance(step, Pause):
            self.now += step.seconds
            return self.now
        if isinstance(step, Ask):
            return step.answer()
        return None

    @property
    def requests(self) -> list[str]:
        """Methods of all requests, in order."""
        return [step.method for step in self.steps if isinstance(step, Call)]

    @property
    def pauses(self) -> list[float]:
        """All pauses that take time, in seconds."""
        return [step.seconds for step in self.steps if isinstance(step, Pause) and step.seconds > 0]

    @property
    def notes(self) -> list[Note | Save]:
        """All that was told, also of what was saved."""
        return [step for step in self.steps if isinstance(step, (Note, Save))]

    @property
    def shape(self) -> list[str]:
        """Requests by their method, what was saved by its name, notes; pauses and questions are left out."""
        saved = iter(self.saved)
        return [
            step.method if isinstance(step, Call) else next(saved)[0] if isinstance(step, Save) else type(step).__name__
            for step in self.steps
            if isinstance(step, (Call, Note, Save))
        ]


@dataclass
class Driving:
    """
    Either driver by one name.

    :param kind: ``sync`` or ``async``.
    """

    kind: str
    slept: list[float] = field(default_factory=list)
    noted: list[Note] = field(default_factory=list)

    def send(self, call: Call[T], settings: Settings, *, handler: Handler | None = None) -> T:
        """Open a client, send one call, close the client."""
        if self.kind == "sync":
            with Client(settings, transport=_transport(handler)) as client:
                return client.send(call, sleep=self.slept.append)

        async def send() -> T:
            async with AsyncClient(settings, transport=_transport(handler)) as client:
                return await client.send(call, sleep=self._sleep)

        return asyncio.run(send())

    def run(
        self,
        flow: Flow[T],
        settings: Settings,
        *,
        handler: Handler | None = None,
        on_sleep: Callable[[float], None] | None = None,
    ) -> T:
        """
        Open a client, run one flow, close the client.

        :param on_sleep: called with the seconds of each pause, after they were recorded.
        """
        if self.kind == "sync":

            def sleep_now(seconds: float) -> None:
                self.slept.append(seconds)
                if on_sleep:
                    on_sleep(seconds)

            with Client(settings, transport=_transport(handler)) as client:
                return client.run(flow, note=self.noted.append, sleep=sleep_now)

        async def sleep(seconds: float) -> None:
            await self._sleep(seconds)
            if on_sleep:
                on_sleep(seconds)

        async def run() -> T:
            async with AsyncClient(settings, transport=_transport(handler)) as client:
                return await client.run(flow, note=self.noted.append, sleep=sleep)

        return asyncio.run(run())

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def _transport(handler: Handler | None) -> httpx.MockTransport | None:
    return None if handler is None else httpx.MockTransport(handler)
