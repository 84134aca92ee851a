"""Waiting on an event loop: what it ends with, and that nobody who is cancelled waits on."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_together.emulator.kubernetes.notice import Notice, is_set_within
from tests.emulator.kubernetes.lab import PATIENCE


async def turns(number: int) -> None:
    """Let all tasks have their turn so often."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns_between", range(4))
def test_a_change_that_comes_with_a_cancellation_does_not_swallow_it(turns_between: int) -> None:
    async def cancel_after_a_change() -> bool:
        notice = Notice()

        async def wait_for_ever() -> None:
            while True:
                await notice.wait(PATIENCE)

        task = asyncio.create_task(wait_for_ever())
        await turns(3)
        notice.give()
        await turns(turns_between)
        task.cancel()
        await turns(10)
        return task.cancelled()

    assert asyncio.run(cancel_after_a_change())


def test_each_who_waits_wakes_up_at_each_change() -> None:
    async def count() -> list[int]:
        notice, woken = Notice(), [0, 0]

        async def wait(number: int) -> None:
            while True:
                await notice.wait(PATIENCE)
                woken[number] += 1

        tasks = [asyncio.create_task(wait(number)) for number in range(2)]
        for _ in range(3):
            await turns(3)
            notice.give()
        await turns(3)
        for task in tasks:
            task.cancel()
        return woken

    assert asyncio.run(count()) == [3, 3]


def test_waiting_tells_whether_it_was_worth_it() -> None:
    async def ask() -> list[bool]:
        event = asyncio.Event()
        answers = [await is_set_within(event, 0.01)]
        event.set()
        return [*answers, await is_set_within(event, 0.0)]

    assert asyncio.run(ask()) == [False, True]
