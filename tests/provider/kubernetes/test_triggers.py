"""The triggers carry ids and settings, do not block, and remove what a user has ended, and nothing else."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import json
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.triggers.base import BaseTrigger
from blockbuster import blockbuster_ctx

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.hooks.kubernetes import GPUClusterKubernetesHook
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.kubernetes.flows import Started, start_job
from airflow_provider_together.jobs.kubernetes.spec import JobSpec
from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver
from airflow_provider_together.triggers.kubernetes import GPUClusterJobTrigger, GPUClusterPodTrigger
from tests.provider.kubernetes.support import ENDLESS, python, wait_until

EVERY_FIELD = {
    "cluster_id": "c-1",
    "together_conn_id": "gpus",
    "namespace": "team",
    "job_name": "train",
    "job_uid": "u1",
    "start_by": 1.0,
    "end_by": 2.0,
    "poll_interval": 3.0,
    "get_logs": False,
}


def test_a_job_trigger_comes_back_from_its_row_as_it_went() -> None:
    assert set(EVERY_FIELD) == set(inspect.signature(GPUClusterJobTrigger).parameters)
    path, kwargs = GPUClusterJobTrigger(**EVERY_FIELD).serialize()  # type: ignore[arg-type]
    assert path == f"{GPUClusterJobTrigger.__module__}.GPUClusterJobTrigger"
    assert json.loads(json.dumps(kwargs)) == EVERY_FIELD


def pod_trigger(**changes: Any) -> GPUClusterPodTrigger:
    known = {
        "cluster_id": "c-1",
        "together_conn_id": "gpus",
        "pod_name": "p",
        "pod_namespace": "default",
        "trigger_start_time": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "base_container_name": "base",
    }
    return GPUClusterPodTrigger(**{**known, **changes})


def test_a_pod_trigger_names_its_own_class_and_no_way_to_a_cluster_but_ids() -> None:
    path, kwargs = pod_trigger(config_dict={"users": "secret"}, connection_extras={"kube_config": "secret"}).serialize()
    assert path == f"{GPUClusterPodTrigger.__module__}.GPUClusterPodTrigger"
    assert (kwargs["cluster_id"], kwargs["together_conn_id"]) == ("c-1", "gpus")
    assert not {"config_dict", "connection_extras", "kubernetes_conn_id", "in_cluster"} & set(kwargs)
    again = GPUClusterPodTrigger(**kwargs)
    assert again.serialize() == (path, kwargs)


def test_it_takes_over_all_else_of_airflows_trigger() -> None:
    theirs = KubernetesPodTrigger(
        pod_name="p",
        pod_namespace="default",
        trigger_start_time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        base_container_name="base",
        config_dict={"users": "secret"},
        connection_extras={"kube_config": "secret"},
        kubernetes_conn_id="k",
        startup_timeout=7,
        on_kill_action="keep_pod",
    )
    ours = GPUClusterPodTrigger.taking_over(theirs, cluster_id="c-1", together_conn_id="gpus").serialize()[1]
    known = theirs.serialize()[1]
    for name in ("config_dict", "connection_extras", "kubernetes_conn_id", "in_cluster"):
        del known[name]
    assert ours == {**known, "cluster_id": "c-1", "together_conn_id": "gpus"}
    assert "secret" not in repr(ours)


def start(cluster_id: str, code: str = ENDLESS) -> Started:
    spec = JobSpec(name="train", owner="abc", image="any", num_nodes=2, gpus_per_node=8, command=python(code))
    driver = KubernetesDriver(GPUClusterKubernetesHook(cluster_id))
    return driver.run(start_job(spec), note=lambda _: None)


def job_trigger(cluster_id: str, started: Started, **changes: Any) -> GPUClusterJobTrigger:
    known = {
        "cluster_id": cluster_id,
        "namespace": started.namespace,
        "job_name": started.name,
        "job_uid": started.uid,
        "start_by": started.asked_at + 60.0,
        "poll_interval": 0.2,
    }
    return GPUClusterJobTrigger(**{**known, **changes})


async def events_of(trigger: BaseTrigger) -> list[Any]:
    return [event.payload async for event in trigger.run()]


def test_it_fires_once_with_ids_and_words(cluster_id: str) -> None:
    started = start(cluster_id, "import os\nraise SystemExit(int(os.environ['NODE_RANK']))")
    events = asyncio.run(asyncio.wait_for(events_of(job_trigger(cluster_id, started)), timeout=60))
    assert events == [
        {
            "cluster_id": cluster_id,
            "namespace": "default",
            "job_name": "train",
            "job_uid": started.uid,
            "verdict": "failed",
            "word": "non_zero_exit",
            "rank": 1,
            "status": "",
        }
    ]


def test_it_never_blocks_the_event_loop(cluster_id: str) -> None:
    TogetherHook().settings  # noqa: B018 - the first look at a connection imports Airflow's secrets backends
    started = start(cluster_id, "print('a line')")

    async def wait() -> list[Any]:
        # A client is made once for a wait; the certificates that it reads are in memory.
        with blockbuster_ctx(["airflow_provider_together.hooks", "airflow_provider_together.triggers"]) as detector:
            for function in detector.functions.values():
                function.can_block_in("coverage/collector.py", "lock_data")
                function.can_block_in("kubernetes_asyncio/client/rest.py", "__init__")
                function.can_block_in("kubernetes_asyncio/config/kube_config.py", "as_file")
                function.can_block_in("airflow_provider_together/runtime/secret_file.py", "secret_file")
            return await events_of(job_trigger(cluster_id, started))

    (event,) = asyncio.run(asyncio.wait_for(wait(), timeout=60))
    assert event["verdict"] == "succeeded"


def test_its_deadline_is_a_point_in_time(cluster_id: str) -> None:
    trigger = job_trigger(cluster_id, start(cluster_id), end_by=0.0)
    (event,) = asyncio.run(asyncio.wait_for(events_of(trigger), timeout=60))
    assert (event["verdict"], event["word"]) == ("timed out", "deadline")


def test_it_waits_also_while_the_kubeconfig_cannot_be_had(
    cluster_id: str, emulator: Emulator, kubernetes: KubernetesHandle
) -> None:
    from airflow_provider_together.emulator import Fault

    started = start(cluster_id, "print(1)")
    emulator.inject(Fault(route="get_cluster", status=500, times=6))
    kubernetes.rotate_token()
    (event,) = asyncio.run(asyncio.wait_for(events_of(job_trigger(cluster_id, started)), timeout=60))
    assert event["verdict"] == "succeeded"


def end(trigger: BaseTrigger, *, is_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the triggerer cancel a trigger as it does when a user ends its task, or only moves it."""

    async def state(_: BaseTrigger) -> bool:
        return is_over

    async def run_and_end() -> None:
        running = asyncio.create_task(events_of(trigger))
        await asyncio.sleep(1.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        killing = asyncio.create_task(trigger.on_kill())
        for _ in range(3):  # as every round of the triggerer does
            await asyncio.sleep(0.1)
            killing.cancel()
        await asyncio.wait_for(killing, timeout=40)
        await trigger.cleanup()

    monkeypatch.setattr("airflow_provider_together.runtime.ended_task.is_task_over", state)
    asyncio.run(run_and_end())


def test_a_task_that_a_user_has_ended_takes_its_job_with_it(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(cluster_id)
    wait_until(kubernetes.processes)
    end(job_trigger(cluster_id, started), is_over=True, monkeypatch=monkeypatch)
    wait_until(lambda: not kubernetes.jobs() and not kubernetes.processes())


def test_a_task_that_was_only_moved_leaves_its_job_alive(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(cluster_id)
    end(job_trigger(cluster_id, started), is_over=False, monkeypatch=monkeypatch)
    (job,) = kubernetes.jobs()
    assert "deletionTimestamp" not in job.manifest["metadata"]


def test_a_later_job_of_that_name_is_left_alive(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(cluster_id)
    end(job_trigger(cluster_id, started, job_uid="another"), is_over=True, monkeypatch=monkeypatch)
    assert len(kubernetes.jobs()) == 1


def test_a_job_whose_end_was_told_is_kept_where_airflow_calls_cleanup_alone(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def state(_: BaseTrigger) -> bool:
        return True

    async def run() -> None:
        trigger = job_trigger(cluster_id, started)
        await events_of(trigger)
        await trigger.cleanup()

    monkeypatch.setattr("airflow_provider_together.runtime.ended_task.TRIGGERS_HAVE_ON_KILL", False)
    monkeypatch.setattr("airflow_provider_together.runtime.ended_task.is_task_over", state)
    started = start(cluster_id, "print(1)")
    asyncio.run(asyncio.wait_for(run(), timeout=60))
    assert len(kubernetes.jobs()) == 1


@pytest.mark.skipif(
    "on_kill_action" not in inspect.signature(KubernetesPodTrigger).parameters, reason="the parent has no such setting"
)
@pytest.mark.parametrize(
    ("is_over", "action", "is_left"),
    [(True, "delete_pod", False), (False, "delete_pod", True), (True, "keep_pod", True)],
)
def test_a_task_that_a_user_has_ended_takes_its_pod_with_it_unless_he_keeps_it(
    cluster_id: str,
    kubernetes: KubernetesHandle,
    monkeypatch: pytest.MonkeyPatch,
    is_over: bool,
    action: str,
    is_left: bool,
) -> None:
    spec = {"restartPolicy": "Never", "containers": [{"name": "base", "image": "any", "command": python(ENDLESS)}]}
    client = GPUClusterKubernetesHook(cluster_id).core_v1_client
    client.create_namespaced_pod("default", {"metadata": {"name": "p"}, "spec": spec})
    wait_until(kubernetes.processes)
    settings = {"on_kill_action": action, "poll_interval": 0.2, "termination_grace_period": 1}
    trigger = pod_trigger(cluster_id=cluster_id, together_conn_id="together_default", **settings)
    end(trigger, is_over=is_over, monkeypatch=monkeypatch)
    if is_left:
        assert len(kubernetes.pods()) == 1
    else:
        wait_until(lambda: not kubernetes.pods())
