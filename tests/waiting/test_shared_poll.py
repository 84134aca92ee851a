"""One poller for all who wait through a client: that it begins, ends, survives, and tells each one his own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import os
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_together.api.call import Note
from airflow_provider_together.api.client import AsyncClient, shared_async_client
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.waiting import shared_poll as poller
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.shared_poll import watch
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.engine import settings_with
from tests.support.loopback import Connection, Server, serving

LIST = "/api/v1/gpu_clusters"
#: Seconds after which a test that hangs has failed.
LIMIT = 30


class Cloud:
    """Clusters behind a transport of httpx; what it was asked is kept."""

    def __init__(self, **statuses: str) -> None:
        self.statuses = statuses
        self.asked: list[str] = []
        self.under_way = self.most_under_way = 0
        self.delay = 0.0
        #: Seconds that a request takes to end, however it ends.
        self.ending = 0.0
        self.on_request: Callable[[str], None] = lambda _: None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.delay)
            self.on_request(path)
        finally:
            await asyncio.sleep(self.ending)
            self.under_way -= 1
        if path == LIST:
            return httpx.Response(200, json={"clusters": [self._shown(one) for one in self.statuses]})
        cluster_id = path.rpartition("/")[2]
        if cluster_id not in self.statuses:
            return httpx.Response(404, json={})
        return httpx.Response(200, json={} if request.method == "DELETE" else self._shown(cluster_id))

    @property
    def lists(self) -> int:
        return self.asked.count(f"GET {LIST}")

    def _shown(self, cluster_id: str) -> dict[str, Any]:
        return {"cluster_id": cluster_id, "status": self.statuses[cluster_id]}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        async with AsyncClient(settings_with(dialect="tcloud"), transport=httpx.MockTransport(self)) as client:
            yield client


def ready_wait(cluster_id: str, **changes: Any) -> ReadyWait:
    return ReadyWait(cluster_id, **{"started": 0.0, "poll_interval": 0.02, **changes})


def nothing(_: Note) -> None:
    """Take no note."""


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(LIMIT):
            return await scenario()

    return asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks that run beside the current one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


def start(client: AsyncClient, cluster_id: str, **changes: Any) -> asyncio.Task[Look]:
    return asyncio.create_task(watch(client, ready_wait(cluster_id, **changes), note=nothing))


def test_each_one_is_told_of_his_own_cluster_by_requests_that_follow_each_other() -> None:
    cloud = Cloud(**{f"c-{one}": "QUEUED" for one in range(300)})
    cloud.delay = 0.01

    async def scenario() -> list[Look]:
        async with cloud.client() as client:
            waiting = [start(client, f"c-{one}") for one in range(300)]
            await until(lambda: cloud.lists > 3)
            cloud.statuses.update(dict.fromkeys(cloud.statuses, "FAILED"), **{"c-7": "READY"})
            return await asyncio.gather(*waiting)

    verdicts = [look.verdict for look in run(scenario)]
    assert (verdicts.pop(7), set(verdicts)) == (Verdict.READY, {Verdict.FAILED})
    assert cloud.most_under_way == 1
    assert cloud.lists >= len(cloud.asked) - 1


def test_it_begins_with_the_first_and_ends_with_the_last_who_waits() -> None:
    cloud = Cloud(a="QUEUED", b="QUEUED")

    async def scenario() -> None:
        async with cloud.client() as client:
            for _ in range(3):
                assert others() == set()
                first, second = start(client, "a"), start(client, "b")
                await until(lambda: cloud.lists > 2)
                assert len(others()) == 3
                for task in (first, second):
                    task.cancel()
                    await asyncio.wait({task})
                assert others() == set()
                cloud.asked.clear()
            cloud.statuses["a"] = "READY"
            assert (await start(client, "a")).verdict is Verdict.READY
            assert others() == set()

    run(scenario)


def test_who_leaves_ends_a_request_that_nobody_else_waits_for() -> None:
    cloud = Cloud(a="QUEUED")
    cloud.delay, cloud.ending = 1000.0, 0.05

    async def scenario() -> None:
        async with cloud.client() as client:
            waiting = start(client, "a")
            await until(lambda: cloud.under_way == 1)
            waiting.cancel()
            await asyncio.wait({waiting})
            assert cloud.under_way == 0

    run(scenario)


def test_who_comes_while_the_last_one_leaves_is_not_left_alone() -> None:
    cloud = Cloud(a="QUEUED", b="READY")

    async def scenario() -> Look:
        async with cloud.client() as client:
            leaving = start(client, "a")
            await until(lambda: bool(cloud.asked))
            leaving.cancel()
            return (await asyncio.gather(start(client, "b"), leaving, return_exceptions=True))[0]  # type: ignore[return-value]

    assert run(scenario).verdict is Verdict.READY


def test_who_comes_new_ends_a_pause_of_the_others() -> None:
    cloud = Cloud(slow="QUEUED", new="READY")

    async def scenario() -> Look:
        async with cloud.client() as client:
            slow = start(client, "slow", poll_interval=3600.0)
            await until(lambda: bool(cloud.asked))
            look = await start(client, "new", poll_interval=3600.0)
            slow.cancel()
            await asyncio.wait({slow})
            return look

    assert run(scenario).verdict is Verdict.READY


def test_his_news_come_to_each_one_in_his_own_context() -> None:
    cloud = Cloud(a="QUEUED", b="QUEUED")
    whose = contextvars.ContextVar("whose", default="nobody's")
    heard: list[tuple[str, str]] = []

    async def wait(client: AsyncClient, cluster_id: str) -> None:
        whose.set(cluster_id)
        await watch(client, ready_wait(cluster_id), note=lambda note: heard.append((whose.get(), note.message)))

    async def scenario() -> None:
        cloud.on_request = lambda _: asked_as.add(whose.get())
        async with cloud.client() as client:
            waiting = [asyncio.create_task(wait(client, one)) for one in "ab"]
            await until(lambda: len(heard) == 2)
            cloud.statuses.update(a="READY", b="READY")
            await asyncio.gather(*waiting)

    asked_as: set[str] = set()
    run(scenario)
    assert asked_as == {"nobody's"}
    assert {(owner, message.split()[1]) for owner, message in heard} == {("a", "a"), ("b", "b")}
    assert len(heard) == 4


def test_a_fault_of_our_own_is_logged_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    cloud, heard = Cloud(a="READY", b="READY"), list[str]()
    faults = [KeyError("secret")]

    def on_request(_: str) -> None:
        if faults:
            raise faults.pop()

    async def scenario() -> list[Look]:
        cloud.on_request = on_request
        async with cloud.client() as client:
            note = lambda note: heard.append(note.message)  # noqa: E731
            return await asyncio.gather(*(watch(client, ready_wait(one), note=note) for one in "ab"))

    assert {look.verdict for look in run(scenario)} == {Verdict.READY}
    assert "by a fault of this package" in caplog.text
    assert any("failed by KeyError" in message for message in heard)
    assert not any("secret" in message for message in heard)


def test_a_list_that_fails_alone_is_told_to_who_looks_after_the_process(caplog: pytest.LogCaptureFixture) -> None:
    cloud = Cloud(a="QUEUED", b="QUEUED")

    def no_list(path: str) -> None:
        if path == LIST:
            message = "no list"
            raise httpx.ReadError(message)

    async def scenario() -> None:
        cloud.on_request = no_list
        async with cloud.client() as client:
            waiting = [start(client, one) for one in "ab"]
            await until(lambda: cloud.lists == 2)
            cloud.statuses.update(a="READY", b="READY")
            await asyncio.gather(*waiting)

    with caplog.at_level(logging.WARNING):
        run(scenario)
    assert "Asking for each of 2 clusters by itself" in caplog.text


def test_one_that_lives_on_as_if_unheard_is_asked_to_go_again() -> None:
    cloud = Cloud(a="READY")

    async def scenario() -> Look:
        async with cloud.client() as client:
            wait = GoneWait("a", started=0.0, deadline=None, poll_interval=0.02)
            wait.accept()
            waiting = asyncio.create_task(watch(client, wait, note=nothing))
            await until(lambda: any(one.startswith("DELETE") for one in cloud.asked))
            del cloud.statuses["a"]
            return await waiting

    assert run(scenario).verdict is Verdict.GONE


def test_a_blank_id_is_an_error_before_anything_is_asked() -> None:
    cloud = Cloud()

    async def scenario() -> None:
        async with cloud.client() as client:
            with pytest.raises(SpecError):
                await watch(client, ready_wait(" "), note=nothing)
            assert others() == set()

    run(scenario)
    assert cloud.asked == []


def test_many_who_are_woken_at_once_leave_turns_to_everybody_else() -> None:
    cloud = Cloud(**{f"c-{one}": "QUEUED" for one in range(500)})
    ended: list[int] = []

    async def wait(client: AsyncClient, number: int) -> None:
        await watch(client, ready_wait(f"c-{number}"), note=nothing)
        ended.append(number)

    async def scenario() -> list[int]:
        seen = []
        async with cloud.client() as client:
            waiting = [asyncio.create_task(wait(client, one)) for one in range(500)]
            await until(lambda: cloud.lists > 1)
            cloud.statuses.update(dict.fromkeys(cloud.statuses, "READY"))
            while len(ended) < 500:  # from now on: should all be told in one turn, a later look would see none of it
                seen.append(len(ended))
                await asyncio.sleep(0)
            await asyncio.gather(*waiting)
        return seen

    assert len(set(run(scenario))) >= 5


class Traced(ReadyWait):
    """A wait that can be referred to weakly, since it has no slots of its own."""


def test_nothing_is_kept_of_those_who_have_left() -> None:
    cloud = Cloud(**{f"c-{one}": "QUEUED" for one in range(100)})

    async def scenario() -> list[weakref.ref[Traced]]:
        left = []
        async with cloud.client() as client:
            stays = start(client, "c-0")
            for one in range(1, 100):
                wait = Traced(f"c-{one}", started=0.0, deadline=client.now() + 3600, poll_interval=0.02)
                left.append(weakref.ref(wait))
                task = asyncio.create_task(watch(client, wait, note=nothing))
                del wait
                await asyncio.sleep(0)
                if one % 10 == 0:
                    before = len(cloud.asked)
                    await until(lambda before=before: len(cloud.asked) > before)  # type: ignore[misc]
                task.cancel()
                await asyncio.wait({task})
                del task
            gc.collect()
            alive = [one for one in left if one() is not None]
            stays.cancel()
            await asyncio.wait({stays})
        return alive

    gc.collect()
    before = len(poller._pollers)  # noqa: SLF001 - nobody else knows them
    assert len(run(scenario)) <= 65  # what the agenda may hold until it is tidied up
    gc.collect()
    assert len(poller._pollers) == before  # noqa: SLF001


def test_ten_thousand_wait_with_less_than_three_kilobytes_each() -> None:
    number = 10_000
    cloud = Cloud(**{f"{one:08d}-0000-4000-8000-000000000000": "QUEUED" for one in range(number)})

    async def scenario() -> float:
        async with cloud.client() as client:
            ids = list(cloud.statuses)
            waiting = [start(client, one, poll_interval=3600.0) for one in ids[:2]]
            await until(lambda: cloud.lists == 1)
            await asyncio.sleep(0.1)
            gc.collect()
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            waiting += [start(client, one, poll_interval=3600.0) for one in ids[2:]]
            await until(lambda: cloud.lists == 2)
            await asyncio.sleep(0.5)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        return (after - before) / number

    assert run(scenario) < 3000
    assert cloud.lists == 2
    assert len(cloud.asked) <= 3


FORKING = """
import asyncio, os, sys
from airflow_provider_together.api.client import shared_async_client
from airflow_provider_together.waiting.shared_poll import watch
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.api.settings import Settings

async def wait(who):
    async with shared_async_client(Settings(base_url=sys.argv[1], api_key="k")) as client:
        look = await watch(client, ReadyWait(who, started=0.0, poll_interval=0.05), note=print)
    assert look.verdict == "ready", look

async def main():
    waiting = asyncio.create_task(wait("slow"))
    await asyncio.sleep(0.3)
    child = os.fork()
    if not child:
        asyncio.events._set_running_loop(None)
        try:
            asyncio.run(wait("child"))
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status[1] == 0, status
    await waiting

asyncio.run(asyncio.wait_for(main(), 20))
"""


def test_a_fork_waits_for_itself_and_leaves_its_parents_connection_alone() -> None:
    peers: dict[str, set[int]] = {}

    def serve(connection: Connection, _: Server) -> None:
        while head := connection.read_head():
            path = head.split()[1].decode().rsplit("/", 1)[-1]
            peers.setdefault(path, set()).add(connection.sock.getpeername()[1])
            is_ready = path == "child" or "child" in peers
            body = json.dumps({"cluster_id": path, "status": "READY" if is_ready else "QUEUED"}).encode()
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with serving(serve) as server:
        done = subprocess.run(
            [sys.executable, "-c", FORKING, server.url], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert peers["child"].isdisjoint(peers["slow"])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets through /proc")
def test_each_event_loop_has_its_own_and_leaves_nothing_behind() -> None:
    def serve(connection: Connection, _: Server) -> None:
        connection.read_head()
        connection.reply()

    async def wait(url: str) -> Verdict:
        async with shared_async_client(settings_with(base_url=url, dialect="tcloud")) as client:
            look = await watch(client, ready_wait("c-1"), note=nothing)
        assert others() == set()
        return look.verdict

    with serving(serve) as server:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts
        verdicts = [asyncio.run(wait(server.url)) for _ in range(5)]
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208 - the server's last one may be closing
    assert verdicts == [Verdict.READY] * 5
