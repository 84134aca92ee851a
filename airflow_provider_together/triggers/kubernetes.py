"""
Waiting in the triggerer for what runs on a GPU cluster's Kubernetes: a pod, or a job of several nodes.

The triggers carry ids and settings. The kubeconfig is fetched by the cluster's id where it is needed, and is in no
row of the database. What a look at a job means is in :mod:`airflow_provider_together.jobs.kubernetes.state`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_together.api.call import Note
from airflow_provider_together.hooks.kubernetes import AsyncGPUClusterKubernetesHook
from airflow_provider_together.jobs.kubernetes.flows import JobWatch, LogLines, remove_job, watch_job
from airflow_provider_together.jobs.kubernetes.state import JobState, JobVerdict, Terms
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.ended_task import ToldWhenKilled, undo_if_over
from airflow_provider_together.runtime.kubernetes_driver import AsyncKubernetesDriver
from airflow_provider_together.runtime.parameters import (
    AMOUNT,
    DURATION,
    FLAG,
    IDENTIFIER,
    CheckedParameters,
    Kind,
    optional,
)

log = logging.getLogger(__name__)

#: Settings of Airflow's own trigger that lead to a cluster by a connection or a kubeconfig.
_WAYS_TO_A_CLUSTER = ("config_dict", "connection_extras", "kubernetes_conn_id", "in_cluster")
_KEEP_POD = "keep_pod"


def keeps_pod(one: object) -> bool:
    """Whether an operator's or a trigger's pod outlives its task, by ``on_kill_action`` of Airflow's newer versions."""
    return str(getattr(getattr(one, "on_kill_action", None), "value", "")) == _KEEP_POD


class GPUClusterPodTrigger(CheckedParameters, ToldWhenKilled, KubernetesPodTrigger):
    """
    Waits for a pod on a GPU cluster, as Airflow's own trigger waits for one elsewhere.

    :param cluster_id: id of the GPU cluster.
    :param together_conn_id: connection of type ``together``.
    :param settings: the other settings of
        :class:`~airflow.providers.cncf.kubernetes.triggers.pod.KubernetesPodTrigger`.
    :raises SpecError: if an id is wrong.
    """

    parameter_kinds: ClassVar[Mapping[str, Kind]] = {"cluster_id": IDENTIFIER, "together_conn_id": IDENTIFIER}

    def __init__(self, cluster_id: str, together_conn_id: str = DEFAULT_CONNECTION, **settings: Any) -> None:
        super().__init__(**settings)
        self.cluster_id = cluster_id
        self.together_conn_id = together_conn_id
        self.check_final_parameters()

    @classmethod
    def taking_over(cls, trigger: BaseTrigger, *, cluster_id: str, together_conn_id: str) -> GPUClusterPodTrigger:
        """Return a trigger that waits for the same pod as Airflow's own, without a kubeconfig in it."""
        settings = _without_ways(trigger.serialize()[1])
        return cls(cluster_id, together_conn_id, **settings)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what is needed to make this trigger again in another process."""
        settings = _without_ways(super().serialize()[1])
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {**settings, "cluster_id": self.cluster_id, "together_conn_id": self.together_conn_id},
        )

    @cached_property
    def hook(self) -> AsyncGPUClusterKubernetesHook:
        """The way to the cluster."""
        return AsyncGPUClusterKubernetesHook(
            self.cluster_id, self.together_conn_id, cluster_context=self.cluster_context
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        async for event in super().run():
            self._has_fired = True
            yield event

    async def on_kill(self) -> None:
        """Delete the pod if a user has ended the task (Airflow 3.3 and later)."""
        if self._has_fired or keeps_pod(self):
            return
        await undo_if_over(self, self._delete_pod, what=f"Pod {self.pod_name}")

    async def _delete_pod(self) -> None:
        log.info("The task that waited for pod %s was ended; deleting it.", self.pod_name)
        grace = getattr(self, "termination_grace_period", None)
        options = {} if grace is None else {"grace_period_seconds": grace}
        await self.hook.delete_pod(name=self.pod_name, namespace=self.pod_namespace, **options)


class GPUClusterJobTrigger(CheckedParameters, ToldWhenKilled, BaseTrigger):
    """
    Waits for a job and fires exactly one event: ids, the verdict and the words that it rests on.

    While it waits, the log of rank 0 goes to the log of the task.

    :param cluster_id: id of the GPU cluster.
    :param together_conn_id: connection of type ``together``.
    :param namespace: namespace of the job.
    :param job_name: name of the job.
    :param job_uid: its uid, so that no later one of that name is deleted in its place.
    :param start_by: when all ranks must have begun, in epoch seconds.
    :param end_by: when the job must be over, in epoch seconds; None for never.
    :param poll_interval: seconds between two looks.
    :param get_logs: whether to read the ranks' logs.
    :raises SpecError: if one of them is wrong.
    """

    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "together_conn_id": IDENTIFIER,
        "namespace": IDENTIFIER,
        "job_name": IDENTIFIER,
        "job_uid": IDENTIFIER,
        "start_by": AMOUNT,
        "end_by": optional(AMOUNT),
        "poll_interval": DURATION,
        "get_logs": FLAG,
    }

    def __init__(  # noqa: PLR0913 - each is a field of the trigger's row
        self,
        cluster_id: str,
        together_conn_id: str = DEFAULT_CONNECTION,
        *,
        namespace: str,
        job_name: str,
        job_uid: str,
        start_by: float,
        end_by: float | None = None,
        poll_interval: float = 5.0,
        get_logs: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cluster_id = cluster_id
        self.together_conn_id = together_conn_id
        self.namespace = namespace
        self.job_name = job_name
        self.job_uid = job_uid
        self.start_by = start_by
        self.end_by = end_by
        self.poll_interval = poll_interval
        self.get_logs = get_logs
        self.check_final_parameters()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what is needed to make this trigger again in another process."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "cluster_id": self.cluster_id,
                "together_conn_id": self.together_conn_id,
                "namespace": self.namespace,
                "job_name": self.job_name,
                "job_uid": self.job_uid,
                "start_by": self.start_by,
                "end_by": self.end_by,
                "poll_interval": self.poll_interval,
                "get_logs": self.get_logs,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        watch = JobWatch(
            self.namespace,
            self.job_name,
            Terms(self.start_by, self.end_by),
            poll_interval=self.poll_interval,
            reads_log=self.get_logs,
            saves_logs=self.get_logs,
        )
        async with AsyncKubernetesDriver(self._hook()) as driver:
            state = await driver.run(watch_job(watch), note=log_note, sleep=asyncio.sleep)
        self._has_fired = True
        yield TriggerEvent(self._event(state))  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Remove the job if a user has ended the task (Airflow 3.3 and later)."""
        await undo_if_over(self, self._remove, what=f"Job {self.job_name}")

    async def _remove(self) -> None:
        log.info("The task that waited for job %s was ended; removing it.", self.job_name)
        async with AsyncKubernetesDriver(self._hook()) as driver:
            removal = remove_job(self.namespace, self.job_name, uid=self.job_uid)
            await driver.run(removal, note=log_note, sleep=asyncio.sleep)

    def _hook(self) -> AsyncGPUClusterKubernetesHook:
        return AsyncGPUClusterKubernetesHook(self.cluster_id, self.together_conn_id)

    def _event(self, state: JobState) -> dict[str, Any]:
        is_lost = state.verdict is JobVerdict.CLUSTER_GONE
        return {
            "cluster_id": self.cluster_id,
            "namespace": self.namespace,
            "job_name": self.job_name,
            "job_uid": self.job_uid,
            "verdict": state.verdict.value,
            "word": "" if state.word is None else state.word.value,
            "rank": None if state.culprit is None else state.culprit.number,
            "status": state.reason if is_lost else "",
        }


def log_note(note: Note) -> None:
    """Write what a flow tells to the log, the ranks' own lines among it."""
    if isinstance(note, LogLines):
        for line in note.lines:
            log.info("[rank %s] %s", note.rank, line)
    else:
        log.info("%s", note.message)


def _without_ways(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _WAYS_TO_A_CLUSTER}
