"""The throw-away Airflow's api-server changes one thing at a time, and reads whenever it is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_together.demo.write_queue import WriteQueue


class Server:
    """An application whose requests take until they are let go."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.may_go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del receive, send
        self.inside.append(scope["path"])
        await self.may_go.wait()
        if scope["path"] == "broken":
            raise RuntimeError(scope["path"])


async def inside_at_once(*requests: tuple[str, str]) -> list[str]:
    """Return which requests get in while none has ended, and make sure that all get in after that."""
    server = Server()
    queue = WriteQueue(server)
    scopes = [{"type": "http", "method": method, "path": path} for method, path in requests]
    tasks = [asyncio.create_task(queue(scope, None, None)) for scope in scopes]
    await asyncio.sleep(0)
    at_once = list(server.inside)
    server.may_go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(server.inside) == sorted(path for _, path in requests)
    return at_once


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "POST", "PUT"])
@pytest.mark.parametrize("first", ["good", "broken"])
def test_a_change_waits_for_the_one_before_however_that_ends(method: str, first: str) -> None:
    assert asyncio.run(inside_at_once(("POST", first), (method, "second"))) == [first]


def test_reads_do_not_wait() -> None:
    assert asyncio.run(inside_at_once(("POST", "a change"), ("GET", "1"), ("HEAD", "2"))) == ["a change", "1", "2"]


def test_the_start_of_the_server_is_no_request() -> None:
    server = Server()
    server.may_go.set()
    asyncio.run(WriteQueue(server)({"type": "lifespan", "path": "the start"}, None, None))
    assert server.inside == ["the start"]
