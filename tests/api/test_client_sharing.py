"""
Who shares a client, and that connections end with it: across tasks, event loops, threads and forks.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_together.api.client import (
    AsyncClient,
    Client,
    shared_async_client,
    shared_client,
)
from tests.support.driving import Driving
from tests.support.engine import call_with, settings_with
from tests.support.loopback import Connection, Server, serving


def local(server: Server, **changes: Any) -> Any:
    return settings_with(base_url=server.url, **{"retries": 0, "timeout": 5.0, **changes})


def test_one_connection_has_one_shared_client() -> None:
    client = shared_client(settings_with())
    assert shared_client(settings_with()) is client
    assert shared_client(settings_with(api_key="other")) is not client


def test_a_shared_client_that_nobody_holds_ends_its_connections() -> None:
    ended = threading.Event()

    def serve(connection: Connection, server: Server) -> None:
        answer_on(connection, server)
        ended.set()

    with serving(serve) as server:
        client = shared_client(local(server))
        client.send(call_with())
        assert not ended.is_set()
        del client
        assert ended.wait(timeout=10)


def answer_on(connection: Connection, server: Server) -> None:
    """Answer every request on one connection."""
    while head := connection.read_head():
        server.heads.append(head)
        body = b'{"cluster_id": "c-1"}'
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_requests_of_one_client_share_a_connection() -> None:
    with serving(answer_on) as server, Client(local(server)) as client:
        for _ in range(3):
            client.send(call_with())
        assert (server.accepted, len(server.heads)) == (1, 3)


FORKING = """
import os, sys
from airflow_provider_together.api.client import shared_client
from airflow_provider_together.api.dialects import Compute
from airflow_provider_together.api.settings import Settings

settings = Settings(base_url=sys.argv[1], api_key="k", retries=0)
mine = shared_client(settings)
mine.send(Compute().get_cluster("parent"))
child = os.fork()
if child == 0:
    other = shared_client(settings)
    other.send(Compute().get_cluster("child"))
    os._exit(0 if other is not mine else 3)
_, status = os.waitpid(child, 0)
mine.send(Compute().get_cluster("parent"))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_has_a_connection_of_its_own() -> None:
    peers: dict[str, list[int]] = {}

    def serve(connection: Connection, _: Server) -> None:
        while head := connection.read_head():
            path = head.split()[1].decode().rsplit("/", 1)[-1]
            peers.setdefault(path, []).append(connection.sock.getpeername()[1])
            body = b'{"cluster_id": "c-1"}'
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with serving(serve) as server:
        subprocess.run([sys.executable, "-c", FORKING, server.url], check=True, timeout=60)
        assert server.accepted == 2
    # The parent goes on with its own connection after the child is gone.
    assert len(peers["parent"]) == 2
    assert set(peers["parent"]).isdisjoint(peers["child"])
    assert len(set(peers["parent"])) == 1


def is_closed(client: AsyncClient) -> bool:
    return client._http.is_closed  # noqa: SLF001 - a client that is closed tells it nowhere else


def test_the_borrowers_of_a_loop_share_a_client_that_the_last_one_closes() -> None:
    async def scenario() -> tuple[AsyncClient, bool]:
        async with shared_async_client(settings_with()) as first:
            async with shared_async_client(settings_with()) as second:
                assert second is first
                async with shared_async_client(settings_with(api_key="other")) as third:
                    assert third is not first
            is_open = not is_closed(first)
        async with shared_async_client(settings_with()) as fourth:
            assert fourth is not first
        return first, is_open

    client, was_open_for_the_last = asyncio.run(scenario())
    assert was_open_for_the_last
    assert is_closed(client)


def test_each_loop_has_its_own_client() -> None:
    both_are_there, found = threading.Barrier(2, timeout=30), list[AsyncClient]()

    async def borrow() -> None:
        async with shared_async_client(settings_with()) as client:
            both_are_there.wait()
            found.append(client)
            both_are_there.wait()

    threads = [threading.Thread(target=lambda: asyncio.run(borrow())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is not found[1]
    assert all(is_closed(client) for client in found)


def test_a_borrower_that_fails_gives_the_client_back() -> None:
    async def scenario() -> AsyncClient:
        kept: AsyncClient | None = None
        with pytest.raises(ZeroDivisionError):
            async with shared_async_client(settings_with()) as kept:
                raise ZeroDivisionError
        assert kept is not None
        return kept

    assert is_closed(asyncio.run(scenario()))


def test_a_borrower_that_is_cancelled_leaves_the_client_to_the_others() -> None:
    async def scenario() -> None:
        async with shared_async_client(settings_with()) as client:
            borrowed = asyncio.Event()

            async def borrow() -> None:
                async with shared_async_client(settings_with()):
                    borrowed.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(borrow())
            await borrowed.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not is_closed(client)

    asyncio.run(scenario())


def open_sockets() -> set[str]:
    targets = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return {target for target in targets if target.startswith("socket:")}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets through /proc")
@pytest.mark.parametrize("kind", ["sync", "async", "shared sync", "shared async"])
def test_no_socket_stays_open(kind: str) -> None:
    def use_shared_sync(settings: Any) -> None:
        shared_client(settings).send(call_with())

    async def use_shared_async(settings: Any) -> None:
        async with shared_async_client(settings) as client:
            await client.send(call_with())

    gc.collect()
    before = open_sockets()
    with serving(answer_on) as server:
        for _ in range(3):
            if kind == "shared sync":
                use_shared_sync(local(server))
            elif kind == "shared async":
                asyncio.run(use_shared_async(local(server)))
            else:
                Driving(kind).send(call_with(), local(server))
    gc.collect()
    assert open_sockets() <= before
