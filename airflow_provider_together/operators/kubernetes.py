"""
Operators that train on a GPU cluster's Kubernetes.

:class:`GPUClusterJobOperator` does it on many nodes, :class:`GPUClusterPodOperator` in one pod. The latter is
Airflow's own pod operator in all but the way to the cluster, and importing that costs a DAG more than all else of this
package. So it stands in a module of its own, which is imported when it is asked for.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from airflow_provider_together.exceptions import (
    ClusterGoneError,
    NotFoundError,
    PermanentError,
    TogetherError,
    WaitTimeoutError,
)
from airflow_provider_together.jobs.kubernetes import spec as job_spec
from airflow_provider_together.operators.base import TaskKilledError, TogetherOperator
from airflow_provider_together.runtime.compat import (
    AirflowException,
    AirflowRuntimeError,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
    goes_on_without,
)
from airflow_provider_together.runtime.deferral import DEFERRAL_MARGIN, effective_timeout
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    IDENTIFIER,
    Kind,
    check_extra,
    default_deferrable,
    optional,
    seconds_of,
    truth_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context, XComArg

    from airflow_provider_together.api.call import Flow, Note
    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.jobs.kubernetes.flows import Started
    from airflow_provider_together.jobs.kubernetes.spec import JobSpec
    from airflow_provider_together.jobs.kubernetes.state import JobState, Terms
    from airflow_provider_together.operators.kubernetes_pod import GPUClusterPodOperator
    from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver

__all__ = ["GPUClusterJobOperator", "GPUClusterPodOperator"]

T = TypeVar("T")

#: Seconds of a request made inside a signal handler: Airflow kills for good 5 s after the signal. What is left of these
#: is for the second attempt, outside of the handler.
_KILL_TIMEOUT, _SECOND_KILL_TIMEOUT = 1.0, 10.0
#: Seconds that the log of rank 0 gets to come to its end, once the job has; and where rank 0 has not ended itself.
_LAST_LINES_SECONDS, _NO_END_SECONDS = 10.0, 0.5
#: What a field of a job's spec is, which checks it.
_FIELD = Kind(lambda name, value: job_spec.check({name: value}))
#: XCom key of what a later part of the task must know of its job.
_JOB_KEY = "job"


def __getattr__(name: str) -> Any:
    if name == "GPUClusterPodOperator":
        _check_extra(name)
        from airflow_provider_together.operators import kubernetes_pod  # noqa: PLC0415 - see above

        return kubernetes_pod.GPUClusterPodOperator
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _check_extra(operator: str) -> None:
    check_extra("kubernetes", package="kubernetes_asyncio", needed_by=operator)


class GPUClusterJobOperator(TogetherOperator):
    """
    Train on the nodes of a GPU cluster, one rank on each, and return what rank 0 has left as the result.

    It starts as a whole or not at all, and ends with the first rank that fails. The ranks find each other by
    ``MASTER_ADDR``, ``MASTER_PORT``, ``NNODES``, ``NODE_RANK`` and ``NPROC_PER_NODE``, which ``torchrun`` needs no
    option for. What rank 0 writes to the file that ``TOGETHER_RESULT_PATH`` names, at most 4096 bytes, is the return
    value: as JSON if it is, else as text. A retry adopts the job of a try that was lost with its worker.

    :param cluster_id: id of the GPU cluster.
    :param image: container image.
    :param command: what the container runs; by default what the image says.
    :param arguments: arguments of the command.
    :param env_vars: environment of the container. They can be read in Airflow's UI: values from Kubernetes' Secrets
        belong in ``pod_template``.
    :param num_nodes: number of ranks; by default one on each GPU worker of the cluster.
    :param gpus_per_node: GPUs of each rank; by default all of a node, 0 for none. If too few nodes have as many, that
        is told before the job is made.
    :param namespace: namespace of Kubernetes; it has to exist.
    :param job_name: name of the job; by default one is made that is the same for all tries of this task.
    :param shared_volume: name of a shared volume that is attached to the cluster.
    :param shared_volume_mount_path: where it is mounted.
    :param labels: labels of job and pods.
    :param annotations: annotations of job and pods.
    :param image_pull_policy: ``Always``, ``IfNotPresent`` or ``Never``.
    :param image_pull_secrets: names of Secrets to pull the image with.
    :param service_account_name: service account of the pods.
    :param node_selector: labels that a node must have.
    :param tolerations: taints of nodes to tolerate, as Kubernetes has them.
    :param container_resources: ``limits`` and ``requests`` of CPU and memory, as Kubernetes has them.
    :param shm_size: size of ``/dev/shm``, through which processes of a rank share tensors; None for the runtime's own.
    :param rdma_resource: extended resource through which ranks reach the network directly, such as
        ``rdma/rdma_shared_device_a``.
    :param master_port: port of rank 0 at which the ranks meet.
    :param pod_template: merged into the pod's spec as a patch of Kubernetes: what there is no parameter for.
    :param start_timeout: seconds (or a timedelta) until which all ranks must run, else the job is removed.
    :param timeout: seconds (or a timedelta) that all may take; None for any time. The task's ``execution_timeout`` ends
        the job as well, deferred or not.
    :param poll_interval: seconds between two looks.
    :param get_logs: whether the log of rank 0 is written to the task's, and the end of the others' if the job fails.
    :param delete_on_finish: whether a job that has ended is removed. One that still holds GPUs always is.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    """

    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "cluster_id",
        "image",
        "command",
        "arguments",
        "env_vars",
        "num_nodes",
        "gpus_per_node",
        "namespace",
        "job_name",
        "shared_volume",
        "shared_volume_mount_path",
        "labels",
        "annotations",
        "image_pull_policy",
        "image_pull_secrets",
        "service_account_name",
        "node_selector",
        "tolerations",
        "container_resources",
        "shm_size",
        "rdma_resource",
        "master_port",
        "pod_template",
        "start_timeout",
        "timeout",
        "poll_interval",
        "get_logs",
        "delete_on_finish",
        "deferrable",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "env_vars": "json",
        "pod_template": "json",
        "container_resources": "json",
    }
    adds_costs = False
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "image": IDENTIFIER,
        "command": optional(_FIELD),
        "arguments": optional(_FIELD),
        "env_vars": optional(_FIELD),
        "num_nodes": optional(_FIELD),
        "gpus_per_node": optional(_FIELD),
        "namespace": _FIELD,
        "job_name": optional(_FIELD),
        "shared_volume": optional(IDENTIFIER),
        "shared_volume_mount_path": _FIELD,
        "labels": optional(_FIELD),
        "annotations": optional(_FIELD),
        "image_pull_policy": optional(_FIELD),
        "image_pull_secrets": optional(_FIELD),
        "service_account_name": optional(IDENTIFIER),
        "node_selector": optional(_FIELD),
        "tolerations": optional(_FIELD),
        "container_resources": optional(_FIELD),
        "shm_size": optional(_FIELD),
        "rdma_resource": optional(_FIELD),
        "master_port": _FIELD,
        "pod_template": optional(_FIELD),
        "start_timeout": DURATION,
        "timeout": optional(DURATION),
        "poll_interval": DURATION,
        "get_logs": FLAG,
        "delete_on_finish": FLAG,
        "deferrable": optional(FLAG),
    }

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        return job_spec.faults_of_environment(given.get("env_vars"))

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        cluster_id: str | XComArg,
        image: str,
        command: Sequence[str] | None = None,
        arguments: Sequence[str] | None = None,
        env_vars: Mapping[str, str] | None = None,
        num_nodes: int | str | None = None,
        gpus_per_node: int | str | None = None,
        namespace: str = "default",
        job_name: str | None = None,
        shared_volume: str | None = None,
        shared_volume_mount_path: str = "/mnt/shared",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        image_pull_policy: str | None = None,
        image_pull_secrets: Sequence[str] | None = None,
        service_account_name: str | None = None,
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[Mapping[str, Any]] | None = None,
        container_resources: Mapping[str, Mapping[str, Any]] | None = None,
        shm_size: str | None = "64Gi",
        rdma_resource: str | None = None,
        master_port: int | str = 29500,
        pod_template: Mapping[str, Any] | None = None,
        start_timeout: float | timedelta | str = 600.0,
        timeout: float | timedelta | str | None = None,
        poll_interval: float | str = 5.0,
        get_logs: bool | str = True,
        delete_on_finish: bool | str = True,
        deferrable: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_extra(type(self).__name__)
        super().__init__(**kwargs)
        self.cluster_id = cast("str", cluster_id)
        self.image = image
        self.command = command
        self.arguments = arguments
        self.env_vars = env_vars
        self.num_nodes = num_nodes
        self.gpus_per_node = gpus_per_node
        self.namespace = namespace
        self.job_name = job_name
        self.shared_volume = shared_volume
        self.shared_volume_mount_path = shared_volume_mount_path
        self.labels = labels
        self.annotations = annotations
        self.image_pull_policy = image_pull_policy
        self.image_pull_secrets = image_pull_secrets
        self.service_account_name = service_account_name
        self.node_selector = node_selector
        self.tolerations = tolerations
        self.container_resources = container_resources
        self.shm_size = shm_size
        self.rdma_resource = rdma_resource
        self.master_port = master_port
        self.pod_template = pod_template
        self.start_timeout = start_timeout
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.get_logs = get_logs
        self.delete_on_finish = delete_on_finish
        self.deferrable = deferrable
        self._ti: Any = None
        self._spec: JobSpec | None = None
        self._is_given_back = False
        self.check_parameters()

    @cached_property
    def driver(self) -> KubernetesDriver:
        """What talks to the cluster's Kubernetes."""
        from airflow_provider_together.hooks.kubernetes import GPUClusterKubernetesHook  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver  # noqa: PLC0415

        hook = GPUClusterKubernetesHook(self.cluster_id, self.together_conn_id, repeats=False)
        return KubernetesDriver(hook)

    def execute(self, context: Context) -> Any:
        """Start the job, or adopt the one of an earlier try, and wait for its end."""
        self._ti, began_at = context["ti"], time.time()
        with task_failures(), self._asking_airflow(is_asking=True):
            self.check_rendered_parameters()
            self.publish_link(context, self.cluster_id)
            try:
                return self._train(context, began_at)
            except (TaskKilledError, AirflowTaskTimeout):
                self._give_back(_SECOND_KILL_TIMEOUT)  # unless on_kill has done it
                raise

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on after the triggerer has waited."""
        self._ti = context["ti"]
        state, uid = self._state_of(event)
        with task_failures():
            return self._conclude(event["namespace"], event["job_name"], uid, self._seen_anew(event, state))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Remove the job also when Airflow ends the wait without an event: its timeout, a broken trigger."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            self._ti = ti = context["ti"]
            job = ti.xcom_pull(task_ids=ti.task_id, key=_JOB_KEY, map_indexes=ti.map_index)
            if not job:
                raise
            with task_failures():
                fate = self._remove(job["namespace"], job["name"], job["uid"])
            message = f"Airflow has ended the wait for the job: {error}. {fate}"
            raise AirflowException(message) from None

    def on_kill(self) -> None:
        """
        Ask for the deletion of the job, within the few seconds that Airflow grants.

        It runs inside a signal handler, or after ``execute`` has timed out. Where a signal has struck while Airflow
        was asked something, ``execute`` catches up as soon as the answer is there.
        """
        super().on_kill()
        if not self._is_asking_airflow:
            self._give_back(_KILL_TIMEOUT)

    def _train(self, context: Context, began_at: float) -> Any:
        from airflow_provider_together.jobs.kubernetes.flows import ensure_claim, start_job  # noqa: PLC0415
        from airflow_provider_together.jobs.kubernetes.state import Terms  # noqa: PLC0415 - for a task only

        cluster, start_timeout = self._cluster(), seconds_of("start_timeout", self.start_timeout)
        self._spec = spec = self._spec_for(cluster, context)
        self.driver.connect()  # before a signal may need it
        if self.shared_volume is not None:
            from airflow_provider_together.jobs.cluster import size_of_volume  # noqa: PLC0415

            size = size_of_volume(cluster, self.shared_volume)
            self._run_flow(ensure_claim(self.shared_volume, namespace=spec.namespace, size_tib=size))
        self.raise_if_killed()
        started = self._run_flow(start_job(spec))
        job = {"namespace": started.namespace, "name": started.name, "uid": started.uid}
        context["ti"].xcom_push(key=_JOB_KEY, value=job)
        self.raise_if_killed()
        end_by = None if spec.timeout is None else started.asked_at + spec.timeout
        terms = Terms(started.asked_at + start_timeout, end_by)
        if default_deferrable(self.deferrable):
            self._defer(started, terms, began_at)
        state = self._wait_here(started, terms)
        return self._conclude(started.namespace, started.name, started.uid, state)

    def _cluster(self) -> Cluster:
        from airflow_provider_together.jobs.cluster import check_cluster  # noqa: PLC0415 - for a task only

        cluster = self.hook.get_gpu_cluster(self.cluster_id)
        check_cluster(cluster, shared_volume=self.shared_volume)
        return cluster

    def _spec_for(self, cluster: Cluster, context: Context) -> JobSpec:
        from airflow_provider_together.jobs import cluster as offer  # noqa: PLC0415
        from airflow_provider_together.jobs.kubernetes import name as job_name  # noqa: PLC0415
        from airflow_provider_together.runtime.memory import deployed_owner_of  # noqa: PLC0415 - for a task only

        owner = deployed_owner_of(context, self.hook.settings)
        workers, gpus = offer.num_workers(cluster), offer.gpus_of_node(cluster)
        num_nodes = job_spec.count_of(self.num_nodes) if self.num_nodes is not None else None
        if self.gpus_per_node is None:
            offer.check_alike(cluster)
        per_node = job_spec.count_of(self.gpus_per_node) if self.gpus_per_node is not None else None
        num_nodes = offer.check_share("num_nodes", num_nodes or workers, workers, "GPU worker")
        per_node = offer.check_share("gpus_per_node", gpus if per_node is None else per_node, gpus, "GPU", " on a node")
        return job_spec.JobSpec(
            name=self.job_name or job_name.job_name(owner),
            owner=job_name.owner_digest(owner),
            image=self.image,
            num_nodes=num_nodes,
            gpus_per_node=per_node,
            namespace=self.namespace,
            num_workers=workers,
            fills_node=2 * per_node > gpus,
            command=job_spec.words_of(self.command),
            arguments=job_spec.words_of(self.arguments),
            env_vars=job_spec.texts_of(self.env_vars),
            labels=job_spec.texts_of(self.labels),
            annotations=job_spec.texts_of(self.annotations),
            image_pull_policy=self.image_pull_policy,
            image_pull_secrets=list(self.image_pull_secrets or ()),
            service_account_name=self.service_account_name,
            node_selector=job_spec.texts_of(self.node_selector),
            tolerations=list(self.tolerations or ()),
            resources=dict(self.container_resources or {}),
            shm_size=self.shm_size,
            rdma_resource=self.rdma_resource,
            master_port=int(self.master_port),
            claim=self.shared_volume,
            mount_path=self.shared_volume_mount_path,
            timeout=None if self.timeout is None else seconds_of("timeout", self.timeout),
            pod_template=dict(self.pod_template or {}),
        )

    def _defer(self, started: Started, terms: Terms, began_at: float) -> None:
        from airflow_provider_together.triggers.kubernetes import GPUClusterJobTrigger  # noqa: PLC0415

        now, end_by, timeout = self.driver.now(), None, None
        limit = effective_timeout(self, math.inf if terms.end_by is None else terms.end_by - now, began_at)
        if limit < math.inf:
            end_by, timeout = now + limit, timedelta(seconds=max(limit, 0.0) + DEFERRAL_MARGIN)
        trigger = GPUClusterJobTrigger(
            self.cluster_id,
            self.together_conn_id,
            namespace=started.namespace,
            job_name=started.name,
            job_uid=started.uid,
            start_by=terms.start_by,
            end_by=end_by,
            poll_interval=seconds_of("poll_interval", self.poll_interval),
            get_logs=truth_of("get_logs", self.get_logs),
        )
        self.raise_if_killed()
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)

    def _wait_here(self, started: Started, terms: Terms) -> JobState:
        from airflow_provider_together.jobs.kubernetes.flows import JobWatch, watch_job  # noqa: PLC0415 - for a task

        get_logs = truth_of("get_logs", self.get_logs)
        watch = JobWatch(
            started.namespace,
            started.name,
            terms,
            poll_interval=seconds_of("poll_interval", self.poll_interval),
            saves_logs=get_logs,
        )
        if not get_logs:
            return self._run_flow(watch_job(watch))
        with self._following(started) as end_of_log:
            state = self._run_flow(watch_job(watch))
            has_ended = bool(state.ranks) and state.ranks[0].has_begun and state.ranks[0].ended_at is not None
            end_of_log(_LAST_LINES_SECONDS if has_ended else _NO_END_SECONDS)
            return state

    @contextmanager
    def _following(self, started: Started) -> Iterator[Callable[[float], None]]:
        """Write the log of rank 0 while the job runs; what is lent waits for its end, so many seconds at the most."""
        from airflow_provider_together.runtime.log_follower import LogFollower  # noqa: PLC0415 - for a task only

        driver = self.driver.for_thread()
        follower = LogFollower(driver, started.namespace, started.name, started.uid, write=self._write_line)
        thread = threading.Thread(target=follower.run, name=f"log of {started.name}", daemon=True)

        def end(seconds: float) -> None:
            follower.finish()
            thread.join(seconds)

        thread.start()
        try:
            yield end
        finally:
            follower.stop()

    def _write_line(self, line: str) -> None:
        self.log.info("[rank 0] %s", line)

    def _state_of(self, event: Any) -> tuple[JobState, str]:
        """Read the trigger's event."""
        from airflow_provider_together.jobs.kubernetes.diagnosis import Diagnosis, Word  # noqa: PLC0415 - for a task only
        from airflow_provider_together.jobs.kubernetes.state import JobState, JobVerdict, Rank, RankPhase  # noqa: PLC0415

        try:
            verdict, word, rank, uid = JobVerdict(event["verdict"]), event["word"], event["rank"], event["job_uid"]
            culprit = None
            if rank is not None:
                culprit = Rank(rank, RankPhase.FAILED, diagnosis=Diagnosis(Word(word)))
            known = (event["cluster_id"], event["namespace"], event["job_name"])
            state = JobState(verdict, reason=event["status"] or word, culprit=culprit)
        except (TypeError, KeyError, ValueError):
            message = f"the trigger's event is not what this operator understands: {event!r}"
            raise ValueError(message) from None
        if known[0] != self.cluster_id:
            message = f"the trigger's event is about cluster {known[0]!r}, not {self.cluster_id!r}"
            raise ValueError(message)
        return state, uid

    def _seen_anew(self, event: Mapping[str, Any], told: JobState) -> JobState:
        """Look once more for what an event does not hold: the result, or how a rank's log ends."""
        from airflow_provider_together.jobs.kubernetes.flows import JobWatch, look  # noqa: PLC0415 - for a task only
        from airflow_provider_together.jobs.kubernetes.state import JobVerdict, Terms  # noqa: PLC0415

        if told.verdict in {JobVerdict.CLUSTER_GONE, JobVerdict.REFUSED}:
            return told
        watch = JobWatch(event["namespace"], event["job_name"], Terms(0.0))
        try:
            seen = self._run_flow(look(watch, persists=True))
        except TogetherError as error:
            if told.verdict is JobVerdict.SUCCEEDED:
                raise  # a retry, which adopts the job, still gets its result
            self.log.warning("%s", error)
            return told
        if told.verdict is JobVerdict.SUCCEEDED and (not seen.ranks or not seen.ranks[0].pod):
            self.log.warning("The job has succeeded, but rank 0 is gone, and with it what it had left as its result.")
        if not seen.ranks:
            return told
        return replace(seen, verdict=told.verdict, culprit=seen.culprit or told.culprit)

    def _conclude(self, namespace: str, name: str, uid: str, state: JobState) -> Any:
        from airflow_provider_together.jobs.kubernetes import flows as job_flows  # noqa: PLC0415
        from airflow_provider_together.jobs.kubernetes.state import JobVerdict  # noqa: PLC0415
        from airflow_provider_together.jobs.result import parse_result  # noqa: PLC0415
        from airflow_provider_together.runtime.return_value import store_return_value  # noqa: PLC0415 - for a task

        if state.verdict is JobVerdict.SUCCEEDED:
            result = parse_result(state.result)
            # Before the job is removed: should that fail, or this worker die, a retry still finds the result.
            remedy = "delete the job to have it made again"
            store_return_value(self, self._ti, result, job=f"Job {name}", remedy=remedy)
            if job_flows.is_cut(state):
                self.log.warning("The result of rank 0 may be cut off: Kubernetes keeps 4096 bytes of it.")
            self.log.info("Job %s has succeeded. %s", name, self._finish(namespace, name, uid))
            return result
        tail = self._tail(namespace, state)
        fate = ""
        if state.verdict is JobVerdict.FAILED:
            fate = self._finish(namespace, name, uid)
        elif state.verdict not in {JobVerdict.GONE, JobVerdict.CLUSTER_GONE}:
            fate = self._remove(namespace, name, uid)
        message = "\n".join(
            part for part in (f"{job_flows.failure_sentence(name, state)} {fate}".strip(), tail) if part
        )
        kinds: dict[JobVerdict, type[TogetherError]] = {
            JobVerdict.CLUSTER_GONE: ClusterGoneError,
            JobVerdict.REFUSED: PermanentError,
            JobVerdict.NOT_STARTED: WaitTimeoutError,
            JobVerdict.TIMED_OUT: WaitTimeoutError,
        }
        if state.verdict in kinds:
            raise kinds[state.verdict](message)
        raise AirflowException(message)

    def _tail(self, namespace: str, state: JobState) -> str:
        """Return how the log of the rank that failed first ends."""
        from airflow_provider_together.jobs.kubernetes.flows import last_words_of  # noqa: PLC0415 - for a task only

        return "" if state.culprit is None else self._run_flow(last_words_of(namespace, state.culprit))

    def _finish(self, namespace: str, name: str, uid: str) -> str:
        """Remove a job that has ended, or note at it that its outcome is known; return what became of it."""
        from airflow_provider_together.jobs.kubernetes.flows import mark_taken  # noqa: PLC0415 - for a task only

        if truth_of("delete_on_finish", self.delete_on_finish):
            return self._remove(namespace, name, uid)
        try:
            self._run_flow(mark_taken(namespace, name))
        except TogetherError as error:
            return f"It could not be marked as known: {error}."
        return "It is kept."

    def _remove(self, namespace: str, name: str, uid: str) -> str:
        """Remove a job; return a sentence that says what became of it."""
        from airflow_provider_together.jobs.kubernetes.flows import remove_job  # noqa: PLC0415 - for a task only

        try:
            if goes_on_without(self._ti):
                return "It is left alive: another try of this task works with it."
            self._run_flow(remove_job(namespace, name, uid=uid))
        except (TogetherError, AirflowRuntimeError) as error:
            return f"REMOVING IT FAILED: {error}. It may still hold its GPUs."
        return "It was removed."

    def _give_back(self, timeout: float) -> None:
        """
        Delete the job of a try that was killed, unless the task goes on without that try.

        :param timeout: seconds of each request.
        """
        spec = self._spec
        if spec is None or self._is_given_back:
            return
        try:
            if goes_on_without(self._ti):
                self.log.info("Job %s is left alive: another try of this task works with it.", spec.name)
            elif not self._delete_now(spec, timeout):
                return  # it may still be made by the request that was interrupted
            self._is_given_back = True
        except (TogetherError, AirflowRuntimeError) as error:
            # Raised from a signal handler it would strike the task at any line.
            self.log.error("%s Job %s may still run.", error, spec.name)  # noqa: TRY400

    def _delete_now(self, spec: JobSpec, timeout: float) -> bool:
        """Delete the job of this task, if it is there, by a client of its own: the other one may be in use."""
        from airflow_provider_together.jobs.kubernetes import api as kubernetes_api  # noqa: PLC0415 - for a task only
        from airflow_provider_together.jobs.kubernetes.manifests import OWNER_LABEL  # noqa: PLC0415

        driver = self.driver.urgent(timeout)
        try:
            job = driver.send(kubernetes_api.get_job(spec.namespace, spec.name).once())
            if (job["metadata"].get("labels") or {}).get(OWNER_LABEL) != spec.owner:
                return True
            uid = job["metadata"]["uid"]
            driver.send(kubernetes_api.delete_job(spec.namespace, spec.name, uid=uid).once())
        except NotFoundError:
            return False
        self.log.info("Job %s is being deleted, since its task was ended.", spec.name)
        return True

    def _run_flow(self, flow: Flow[T]) -> T:
        """Run a flow of requests to Kubernetes that ends early if the task is killed."""
        with self._asking_airflow(is_asking=False):
            return self.driver.run(flow, note=self._take_note, sleep=self.sleep)

    def _take_note(self, note: Note) -> None:
        from airflow_provider_together.jobs.kubernetes.flows import LogLines  # noqa: PLC0415 - for a task only

        if isinstance(note, LogLines):
            for line in note.lines:
                self.log.info("[rank %s] %s", note.rank, line)
        else:
            self.log.info("%s", note.message)
        self.raise_if_killed()
