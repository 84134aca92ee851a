"""The trigger waits without blocking, fires one event of words, and cancels the job of a task that was ended."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.slurm import job as slurm
from airflow_provider_together.jobs.slurm.job import SlurmJob
from airflow_provider_together.runtime.compat.versions import get_connection
from airflow_provider_together.runtime.login_host import Address
from airflow_provider_together.triggers.slurm import GPUClusterSlurmTrigger
from tests.provider.test_hook import SPEC
from tests.slurm.conftest import CONNECTION
from tests.slurm.site import Site, until
from tests.slurm.test_hook import at_login_host, job_of, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("together")]

EVERY_FIELD: dict[str, Any] = {
    "cluster_id": "c-1",
    "address": Address(ssh_conn_id="keys", host="host", port=22, jump_host="jump").as_json(),
    "digest": "abc",
    "attempt": 2,
    "job_id": "17",
    "together_conn_id": "gpus",
    "poll_interval": 3.0,
    "end_time": 2.0,
    "get_logs": False,
    "cancel_on_kill": False,
}


def test_it_comes_back_from_its_row_as_it_went() -> None:
    assert set(EVERY_FIELD) == set(inspect.signature(GPUClusterSlurmTrigger).parameters)
    path, kwargs = GPUClusterSlurmTrigger(**EVERY_FIELD).serialize()
    assert path == "airflow_provider_together.triggers.slurm.GPUClusterSlurmTrigger"
    assert json.loads(json.dumps(kwargs)) == EVERY_FIELD


@pytest.fixture
def job_that(site: Site, address: Address, request: pytest.FixtureRequest) -> Callable[[str], SlurmJob]:
    """Submit a script and return its job."""
    del site
    return lambda script: at_login_host(address, lambda hook: submitted(hook, job_of(request), script))


def trigger_of(job: SlurmJob, address: Address, **fields: Any) -> GPUClusterSlurmTrigger:
    given = {"poll_interval": 0.1, "end_time": time.time() + 60, **fields}
    cluster_id = given.pop("cluster_id", "c-1")
    return GPUClusterSlurmTrigger(cluster_id, address.as_json(), job.digest, job.attempt, job.job_id, **given)


async def events_of(trigger: GPUClusterSlurmTrigger) -> list[dict[str, Any]]:
    return [event.payload for event in [event async for event in trigger.run()]]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, timeout=60))


def test_it_fires_once_with_ids_and_words_only(job_that: Callable[[str], SlurmJob], address: Address) -> None:
    job = job_that("exit 3")
    (event,) = run(events_of(trigger_of(job, address)))
    assert event == {
        "cluster_id": "c-1",
        "job_id": job.job_id,
        "attempt": 1,
        "state": "FAILED",
        "exit_code": 3,
        "reason": "NonZeroExitCode",
    }


def test_it_shows_the_output_of_the_job(
    job_that: Callable[[str], SlurmJob], address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(events_of(trigger_of(job_that("echo shown; sleep 1; printf last"), address)))
    assert [record.message for record in caplog.records if record.message in {"shown", "last"}] == ["shown", "last"]


def test_it_never_blocks_the_event_loop(job_that: Callable[[str], SlurmJob], address: Address) -> None:
    get_connection(CONNECTION)  # the first look at a connection imports Airflow's secrets backends
    trigger = trigger_of(job_that("sleep 1"), address)

    async def wait() -> list[dict[str, Any]]:
        with blockbuster_ctx():
            return await events_of(trigger)

    (event,) = run(wait())
    assert event["state"] == "COMPLETED"


def test_its_deadline_is_a_point_in_time(job_that: Callable[[str], SlurmJob], address: Address) -> None:
    (event,) = run(events_of(trigger_of(job_that("sleep 60"), address, end_time=time.time() + 1)))
    assert event["state"] == slurm.TIMED_OUT


def test_a_host_that_it_may_not_enter_ends_the_wait(
    site: Site, job_that: Callable[[str], SlurmJob], address: Address
) -> None:
    changed = replace(address, host_key=site.host_key("other"))
    (event,) = run(events_of(trigger_of(job_that("sleep 60"), changed)))
    assert event["state"] == slurm.UNREACHABLE
    assert "set host_key" in event["reason"]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_cluster_that_is_no_more_ends_the_wait_and_one_that_is_silent_does_not(
    together: Emulator, address: Address, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.flows.ASK_TOGETHER_EVERY", 0.0)
    hook = TogetherHook()
    cluster_id = hook.create_gpu_cluster(ClusterSpec.parse(SPEC)).cluster_id
    if is_deleted:
        hook.delete_gpu_cluster(cluster_id)
        together.advance(3600)
    silent = replace(address, port=1)
    trigger = trigger_of(SlurmJob("x", 1, "17"), silent, cluster_id=cluster_id, end_time=time.time() + 5)
    (event,) = run(events_of(trigger))
    assert event["state"] == (slurm.CLUSTER_GONE if is_deleted else slurm.TIMED_OUT)


@pytest.mark.parametrize(("is_over", "cancels"), [(True, True), (False, False)])
def test_the_job_of_a_task_that_a_user_ended_is_cancelled_and_of_one_that_lives_on_is_not(
    site: Site,
    job_that: Callable[[str], SlurmJob],
    address: Address,
    monkeypatch: pytest.MonkeyPatch,
    is_over: bool,
    cancels: bool,
) -> None:
    say_that_the_task_is_over(monkeypatch, is_over=is_over)
    job = job_that("sleep 60")
    until(lambda: site.state(job.job_id) == "RUNNING")

    async def end() -> None:
        trigger = trigger_of(job, address)
        waiting = asyncio.create_task(events_of(trigger))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        killing = asyncio.create_task(trigger.on_kill())
        for _ in range(3):  # as the triggerer does about once a second
            await asyncio.sleep(0.05)
            killing.cancel()
        await killing

    run(end())
    if cancels:
        until(lambda: site.state(job.job_id) == "CANCELLED")
    else:
        assert site.state(job.job_id) == "RUNNING"


def test_a_trigger_that_shall_not_cancel_does_not(
    site: Site, job_that: Callable[[str], SlurmJob], address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_that_the_task_is_over(monkeypatch, is_over=True)
    job = job_that("sleep 60")
    until(lambda: site.state(job.job_id) == "RUNNING")
    run(trigger_of(job, address, cancel_on_kill=False).on_kill())
    assert site.state(job.job_id) == "RUNNING"


@pytest.mark.parametrize("has_on_kill", [True, False])
def test_where_airflow_calls_cleanup_alone_it_cancels_there(
    site: Site,
    job_that: Callable[[str], SlurmJob],
    address: Address,
    monkeypatch: pytest.MonkeyPatch,
    has_on_kill: bool,
) -> None:
    monkeypatch.setattr("airflow_provider_together.runtime.ended_task.TRIGGERS_HAVE_ON_KILL", has_on_kill)
    say_that_the_task_is_over(monkeypatch, is_over=True)
    job = job_that("sleep 60")
    until(lambda: site.state(job.job_id) == "RUNNING")
    run(trigger_of(job, address).cleanup())
    until(lambda: site.state(job.job_id) == ("RUNNING" if has_on_kill else "CANCELLED"))


def say_that_the_task_is_over(monkeypatch: pytest.MonkeyPatch, *, is_over: bool) -> None:
    async def answer(trigger: object) -> bool:
        del trigger
        return is_over

    monkeypatch.setattr("airflow_provider_together.runtime.ended_task.is_task_over", answer)
