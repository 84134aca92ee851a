"""
Rows and events of tasks that were deferred before the package was upgraded.

They are kept as released versions have written them: a trigger's row names a class and its arguments, and an event
lies in the database until its task goes on. Add to them, and change none.
"""

from __future__ import annotations

import json

import pytest

from airflow_provider_together.jobs.kubernetes.name import owner_digest
from airflow_provider_together.jobs.slurm.job import job_digest
from airflow_provider_together.lifecycle.name import Owner
from airflow_provider_together.runtime.deferral import Outcome, look_of
from airflow_provider_together.runtime.events import read_event, text
from airflow_provider_together.triggers.gpu_cluster import GPUClusterTrigger
from airflow_provider_together.triggers.kubernetes import GPUClusterJobTrigger
from airflow_provider_together.triggers.slurm import GPUClusterSlurmTrigger
from airflow_provider_together.waiting.verdict import Verdict

#: By the class that the row names: its arguments, as JSON.
ROWS = {
    "airflow_provider_together.triggers.gpu_cluster.GPUClusterTrigger": """{
        "cluster_id": "c-1", "together_conn_id": "together_default", "poll_interval": 15.0, "wait_for": "ready",
        "started": 1796000000.0, "end_time": 1796007200.0, "on_degraded": "wait", "on_paused": "fail",
        "num_gpus": null, "delete_on_kill": true}""",
    "airflow_provider_together.triggers.kubernetes.GPUClusterJobTrigger": """{
        "cluster_id": "c-1", "together_conn_id": "together_default", "namespace": "default", "job_name": "train-1",
        "job_uid": "u-1", "start_by": 1796000600.0, "end_by": null, "poll_interval": 5.0, "get_logs": true}""",
    "airflow_provider_together.triggers.slurm.GPUClusterSlurmTrigger": """{
        "cluster_id": "c-1", "together_conn_id": "together_default", "digest": "d1", "attempt": 1, "job_id": "17",
        "address": {"ssh_conn_id": "", "login": "me", "host": "login.example", "port": 0, "jump_host": "",
            "host_key": "", "jump_host_key": "", "known_hosts": ""},
        "poll_interval": 5.0, "end_time": 1796007200.0, "get_logs": true, "cancel_on_kill": true}""",
}
CLASSES = {
    f"{one.__module__}.{one.__qualname__}": one
    for one in (GPUClusterTrigger, GPUClusterJobTrigger, GPUClusterSlurmTrigger)
}


@pytest.mark.parametrize("path", ROWS)
def test_a_trigger_is_made_again_from_the_row_of_an_earlier_version(path: str) -> None:
    row = json.loads(ROWS[path])
    name, arguments = CLASSES[path](**row).serialize()
    assert name == path
    assert {key: arguments[key] for key in row} == row


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        ('{"cluster_id": "c-1", "verdict": "ready", "status": "Ready"}', Outcome("c-1", Verdict.READY, "Ready")),
        (
            '{"cluster_id": "c-1", "verdict": "timed out", "status": "QUEUED", "error": "503."}',
            Outcome("c-1", Verdict.TIMED_OUT, "QUEUED", "503."),
        ),
    ],
    ids=["without an error", "0.1.0"],
)
def test_an_event_of_an_earlier_version_is_understood(event: str, outcome: Outcome) -> None:
    assert look_of(json.loads(event), cluster_id="c-1") == outcome


def test_an_event_of_a_batch_job_that_names_no_cluster_is_understood() -> None:
    event = json.loads('{"job_id": "17", "attempt": 1, "state": "COMPLETED", "exit_code": 0, "reason": ""}')
    assert read_event(event, {"job_id": text, "attempt": int}, cluster_id="c-1") == {"job_id": "17", "attempt": 1}


@pytest.mark.parametrize("event", [None, "ready", {}, {"job_id": 17}, {"job_id": "17", "cluster_id": "c-2"}])
def test_an_event_of_somebody_else_is_refused(event: object) -> None:
    with pytest.raises(ValueError, match="the trigger's event is"):
        read_event(event, {"job_id": text}, cluster_id="c-1")


def test_what_was_named_by_an_earlier_version_is_found() -> None:
    """By the digests in the names of clusters, of jobs on Kubernetes and of batch jobs."""
    owner = Owner("prod", "train", "run", "create", 3)
    assert owner.digest == "37g5mjhgoplu"
    assert owner_digest(owner) == "o24uo7qk5g2o"
    assert job_digest("c-1", owner.deployment, owner.digest) == "m2xzsbwou5fbn2ra"


def test_the_words_of_a_verdict_stay_since_events_hold_them() -> None:
    assert [verdict.value for verdict in Verdict] == ["go on", "ready", "failed", "gone", "refused", "timed out"]
