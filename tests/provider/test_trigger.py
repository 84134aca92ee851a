"""The trigger waits without blocking, fires one event of words, and touches nothing but what it must."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger, TriggerEvent
from blockbuster import blockbuster_ctx

from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.get_provider_info import get_provider_info
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.runtime.compat.versions import aget_connection
from airflow_provider_together.triggers.gpu_cluster import GPUClusterTrigger
from tests.provider.test_hook import SPEC

#: Those that need an extra have tests of their own, beside the extra's operators.
WITH_EXTRAS = {f"airflow_provider_together.triggers.{name}" for name in ("kubernetes", "slurm")}


def all_triggers() -> Iterator[type[BaseTrigger]]:
    for entry in get_provider_info()["triggers"]:
        for name in set(entry["python-modules"]) - WITH_EXTRAS:
            module = importlib.import_module(name)
            for item in vars(module).values():
                if inspect.isclass(item) and issubclass(item, BaseTrigger) and item.__module__ == name:
                    yield item


EVERY_FIELD: dict[type[BaseTrigger], dict[str, Any]] = {
    GPUClusterTrigger: {
        "cluster_id": "c-1",
        "together_conn_id": "gpus",
        "poll_interval": 3.0,
        "wait_for": "gone",
        "started": 1.0,
        "end_time": 2.0,
        "on_degraded": "ready",
        "on_paused": "wait",
        "num_gpus": 16,
        "delete_on_kill": True,
    }
}


@pytest.mark.parametrize("trigger_class", list(all_triggers()))
def test_a_trigger_comes_back_from_its_row_as_it_went(trigger_class: type[BaseTrigger]) -> None:
    fields = EVERY_FIELD[trigger_class]
    assert set(fields) == set(inspect.signature(trigger_class).parameters)
    path, kwargs = trigger_class(**fields).serialize()
    assert path == f"{trigger_class.__module__}.{trigger_class.__name__}"
    assert json.loads(json.dumps(kwargs)) == fields


@pytest.fixture
def cluster_id(emulator: Emulator) -> str:
    del emulator
    return TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC)).cluster_id


async def events_of(trigger: BaseTrigger) -> list[dict[str, str]]:
    events: list[TriggerEvent] = [event async for event in trigger.run()]
    return [event.payload for event in events]


def events(trigger: BaseTrigger) -> list[dict[str, str]]:
    return asyncio.run(asyncio.wait_for(events_of(trigger), timeout=30))


def test_it_fires_once_when_the_cluster_is_ready(cluster_id: str) -> None:
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05))
    assert event["cluster_id"] == cluster_id
    assert event["verdict"] == "ready"
    assert event["status"].upper() == "READY"


def test_the_event_holds_ids_and_words_only(cluster_id: str) -> None:
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05))
    assert set(event) == {"cluster_id", "verdict", "status", "error"}
    assert event["error"] == ""


def test_it_never_blocks_the_event_loop(cluster_id: str) -> None:
    TogetherHook().settings  # noqa: B018 - the first look at a connection imports Airflow's secrets backends

    async def wait() -> list[dict[str, str]]:
        trigger = GPUClusterTrigger(cluster_id, poll_interval=0.05)
        with blockbuster_ctx():
            return await events_of(trigger)

    assert [event["verdict"] for event in asyncio.run(wait())] == ["ready"]


def test_a_cluster_that_failed_ends_the_wait(cluster_id: str, emulator: Emulator) -> None:
    emulator.fail(cluster_id)
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05))
    assert event["verdict"] == "failed"
    assert "FAILED" in event["status"]


def test_its_deadline_is_a_point_in_time(cluster_id: str, emulator: Emulator) -> None:
    emulator.set_status(cluster_id, "PENDING")
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05, end_time=0.0))
    assert event["verdict"] == "timed out"


def test_faults_of_the_server_do_not_end_the_wait(cluster_id: str, emulator: Emulator) -> None:
    for fault in (
        Fault(route="get_cluster", status=503, times=2),
        Fault(route="get_cluster", kind="malformed", times=1),
        Fault(route="get_cluster", kind="reset", times=1),
        Fault(route="get_cluster", status=429, times=1, headers={"Retry-After": "0"}),
    ):
        emulator.inject(fault)
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05))
    assert event["verdict"] == "ready"


def test_a_cluster_that_is_gone_ends_the_wait(cluster_id: str, emulator: Emulator) -> None:
    TogetherHook().delete_gpu_cluster(cluster_id)
    emulator.advance(3600)
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05))
    assert event["verdict"] == "gone"


def test_it_can_wait_until_a_deleted_cluster_is_gone(cluster_id: str) -> None:
    TogetherHook().delete_gpu_cluster(cluster_id)
    (event,) = events(GPUClusterTrigger(cluster_id, poll_interval=0.05, wait_for="gone"))
    assert event["verdict"] == "gone"


def test_stopping_it_leaves_the_cluster_alive_and_no_connection_open(cluster_id: str, emulator: Emulator) -> None:
    async def start_and_stop() -> None:
        trigger = GPUClusterTrigger(cluster_id, poll_interval=0.05, delete_on_kill=True)
        task = asyncio.create_task(events_of(trigger))
        while not emulator.requests[1:]:  # noqa: ASYNC110 - the emulator is no coroutine
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await trigger.cleanup()

    asyncio.run(start_and_stop())
    assert [cluster.cluster_id for cluster in emulator.alive()] == [cluster_id]


def test_many_triggers_ask_as_one(emulator: Emulator) -> None:
    hook = TogetherHook()
    specs = [{**SPEC, "cluster_name": f"training-{number}"} for number in range(8)]
    ids = [hook.create_gpu_cluster(ClusterSpec.parse(spec)).cluster_id for spec in specs]
    before = len(emulator.requests)

    async def wait() -> list[list[dict[str, str]]]:
        triggers = [GPUClusterTrigger(cluster_id, poll_interval=0.1) for cluster_id in ids]
        async with asyncio.timeout(30):
            return await asyncio.gather(*(events_of(trigger) for trigger in triggers))

    fired = asyncio.run(wait())
    assert [[(event["cluster_id"], event["verdict"]) for event in events] for events in fired] == [
        [(cluster_id, "ready")] for cluster_id in ids
    ]
    asked = Counter(record.route for record in emulator.requests[before:])
    assert set(asked) <= {"list_clusters", "get_cluster"}
    assert asked["get_cluster"] <= len(ids)  # one who comes or is left alone; all others by lists


def test_triggers_that_start_together_read_their_connection_once(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    del emulator
    reads: list[str] = []

    async def counted(conn_id: str) -> Any:
        reads.append(conn_id)
        await asyncio.sleep(0.05)
        return await aget_connection(conn_id)

    async def settings_of_all() -> list[Settings]:
        return await asyncio.gather(*(TogetherHook().asettings() for _ in range(100)))

    monkeypatch.setattr("airflow_provider_together.runtime.together_connection.aget_connection", counted)
    assert len(set(asyncio.run(settings_of_all()))) == 1
    assert len(reads) == 1
    asyncio.run(settings_of_all())
    assert len(reads) == 2  # nothing is kept, so that a changed connection is seen


def test_a_connection_that_is_missing_is_told_to_all_who_start_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GPUS", raising=False)

    async def settings_of_all() -> list[Any]:
        readings = [asyncio.create_task(TogetherHook("gpus").asettings()) for _ in range(5)]
        await asyncio.sleep(0)
        readings[0].cancel()  # who began to read leaves the others their answer
        return await asyncio.gather(*readings, return_exceptions=True)

    first, *others = asyncio.run(settings_of_all())
    assert isinstance(first, asyncio.CancelledError)
    assert {type(error) for error in others} == {ConfigurationError}
