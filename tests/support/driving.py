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

from airflow_provider_together.api.call import Call, Flow, Note, Pause, Step
from airflow_provider_together.api.client import AsyncClient, Client
from airflow_provider_together.api.models import Listing
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.lifecycle.owner import Recall, Record

T = TypeVar("T")

Handler = Callable[[httpx.Request], httpx.Response]
#: What the server does about one request: give a result, or fail.
Answer = Any


@dataclass
class Script:
    """
    Drives one flow.

    :param answers: results or errors of the flow's calls, in order; the last one goes on for ever.
    :param record: what the owner has on record at the beginning; the flow's notes change it.
    :param now: epoch seconds at the beginning; a pause of the flow moves it.
    :param most_steps: where a flow that never ends is given up.
    """

    answers: Sequence[Answer]
    record: Record = field(default_factory=Record)
    now: float = 1000.0
    most_steps: int = 2000
    steps: list[Step] = field(default_factory=list)

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
        if isinstance(step, Recall):
            return self.record
        if isinstance(step, Note):
            self.record = self.record.after(step, now=self.now)
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
    def notes(self) -> list[Note]:
        """All notes, without questions."""
        return [step for step in self.steps if isinstance(step, Note) and not isinstance(step, Recall)]

    @property
    def shape(self) -> list[str]:
        """Requests by their method, notes by their class; pauses and questions are left out."""
        return [
            step.method if isinstance(step, Call) else type(step).__name__
            for step in self.steps
            if not isinstance(step, (Pause, Recall))
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
