"""
One flow in the hands of a driver that can be stopped between any two steps.

It does what the package's drivers do (send, repeat what may be repeated, pause, let questions be answered), but one
step at a time and in virtual time, so that a history can put any step of another process in between. Killing it drops
an answer that has not reached the flow yet, as SIGKILL does. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from airflow_provider_together.api.call import Ask, Call, Flow, Note, Pause, Step
from airflow_provider_together.api.retry import is_worth_repeating, wait_seconds
from airflow_provider_together.exceptions import TogetherError
from tests.histories.cloud import Cloud

T = TypeVar("T")


class Process(Generic[T]):
    """
    Runs one flow, step by step.

    :param actor: who it is, in the cloud's books.
    :param flow: what it does.
    :param began: when it was started, in epoch seconds.
    """

    def __init__(self, actor: str, flow: Flow[T], *, cloud: Cloud) -> None:
        self.actor = actor
        self.began = cloud.now()
        self.wakes_at = self.began
        self.result: T | None = None
        self.error: TogetherError | None = None
        self.is_over = False
        self.was_killed = False
        self._flow = flow
        self._cloud = cloud
        self._goes_on: Callable[[], Step] = lambda: next(flow)
        self._attempt = 0

    def __repr__(self) -> str:
        state = "killed" if self.was_killed else self.error or self.result or f"until {self.wakes_at - self.began:g} s"
        return f"<{self.actor}: {state}>"

    def advance(self) -> None:
        """Give the flow the answer to its last step, and carry out the next one; time passes if it has to pause."""
        self._cloud.wait_until(self.wakes_at)
        try:
            step = self._goes_on()
        except StopIteration as end:
            self.result, self.is_over = end.value, True
        except TogetherError as error:
            self.error, self.is_over = error, True
        else:
            self._carry_out(step)

    def finish(self) -> None:
        """Run the flow to its end."""
        while not self.is_over:
            self.advance()

    def kill(self) -> None:
        """End it here; whatever it has asked for has been done, and nobody hears of it."""
        self._flow.close()
        self.is_over = self.was_killed = True

    def _carry_out(self, step: Step) -> None:
        if isinstance(step, Call):
            self._send(step)
        elif isinstance(step, Ask):
            self._answer(step.answer())
        elif isinstance(step, Note):
            self._answer(None)
        elif isinstance(step, Pause):
            self.wakes_at = self._cloud.now() + step.seconds
            self._goes_on = lambda: self._flow.send(self._cloud.now())

    def _send(self, call: Call[Any]) -> None:
        self._attempt += 1
        try:
            answer = self._cloud.send(call, actor=self.actor)
        except TogetherError as error:
            attempts = self._cloud.settings.retries + 1 if call.attempts is None else call.attempts
            if self._attempt < attempts and is_worth_repeating(call, error):
                self.wakes_at = self._cloud.now() + wait_seconds(self._attempt, error, jitter=lambda: 1.0)
                self._goes_on = lambda: call
                return
            self._attempt = 0
            self._goes_on = partial(self._flow.throw, error)
        else:
            self._attempt = 0
            self._answer(answer)

    def _answer(self, value: Any) -> None:
        self._goes_on = lambda: self._flow.send(value)
