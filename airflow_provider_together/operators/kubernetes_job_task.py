"""
What a task of :class:`~airflow_provider_together.operators.kubernetes.GPUClusterJobOperator` does while it runs.

The operator's other half: DAG files import the operator, and only a task that runs imports this, with the engine, the
trigger and Kubernetes' clients.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_together.exceptions import (
    ClusterGoneError,
    NotFoundError,
    PermanentError,
    TogetherError,
    WaitTimeoutError,
)
from airflow_provider_together.hooks.kubernetes import GPUClusterKubernetesHook
from airflow_provider_together.jobs.cluster import (
    check_alike,
    check_cluster,
    check_share,
    gpus_of_node,
    num_workers,
    size_of_volume,
)
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.diagnosis import Diagnosis, Word
from airflow_provider_together.jobs.kubernetes.flows import (
    JobWatch,
    LogLines,
    Started,
    ensure_claim,
    failure_sentence,
    is_cut,
    last_words_of,
    look,
    mark_taken,
    remove_job,
    start_job,
    watch_job,
)
from airflow_provider_together.jobs.kubernetes.manifests import OWNER_LABEL
from airflow_provider_together.jobs.kubernetes.name import job_name, owner_digest
from airflow_provider_together.jobs.kubernetes.spec import JobSpec, count_of, texts_of, words_of
from airflow_provider_together.jobs.kubernetes.state import JobState, JobVerdict, Rank, RankPhase, Terms
from airflow_provider_together.jobs.result import parse_result
from airflow_provider_together.runtime.compat.task_state import goes_on_without
from airflow_provider_together.runtime.compat.versions import AirflowException, AirflowRuntimeError
from airflow_provider_together.runtime.deferral import DEFERRAL_MARGIN, effective_timeout
from airflow_provider_together.runtime.events import read_event, text
from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver
from airflow_provider_together.runtime.log_follower import LogFollower
from airflow_provider_together.runtime.memory import deployed_owner_of
from airflow_provider_together.runtime.parameters import default_deferrable, seconds_of, truth_of
from airflow_provider_together.runtime.return_value import store_return_value
from airflow_provider_together.triggers.kubernetes import GPUClusterJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.api.call import Flow, Note
    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator

T = TypeVar("T")

#: Seconds that the log of rank 0 gets to come to its end, once the job has; and where rank 0 has not ended itself.
_LAST_LINES_SECONDS, _NO_END_SECONDS = 10.0, 0.5
#: Seconds of a request made inside a signal handler: Airflow kills for good 5 s after the signal. What is left of these
#: is for the second attempt, outside of the handler.
_KILL_TIMEOUT, _SECOND_KILL_TIMEOUT = 1.0, 10.0
#: XCom key of what a later part of the task must know of its job.
_JOB_KEY = "job"


class JobTask:
    """
    What :class:`~airflow_provider_together.operators.owned_resource.OwnedResourceOperator` needs for a job.

    :param operator: with its parameters rendered.
    :param context: of the task that runs.
    """

    what = "the job"

    def __init__(self, operator: GPUClusterJobOperator, context: Context) -> None:
        self._operator = operator
        self._ti: Any = context["ti"]
        self._context = context
        self._log = operator.log
        self._began_at = time.time()
        #: The job that a kill has to delete, as soon as there may be one; the labels prove that it is this task's.
        self._own: JobSpec | None = None

    @cached_property
    def driver(self) -> KubernetesDriver:
        """What talks to the cluster's Kubernetes."""
        operator = self._operator
        return KubernetesDriver(GPUClusterKubernetesHook(operator.cluster_id, operator.together_conn_id, repeats=False))

    @property
    def owns(self) -> bool:
        """Whether there may be a job that a kill has to delete."""
        return self._own is not None

    def start(self) -> Any:
        """Start the job, or adopt the one of an earlier try, and wait for its end, unless the triggerer does."""
        operator = self._operator
        operator.publish_link(self._context, operator.cluster_id)
        cluster, start_timeout = self._cluster(), seconds_of("start_timeout", operator.start_timeout)
        self._own = spec = self._spec_for(cluster)
        self.driver.connect()  # before a signal may need it
        if operator.shared_volume is not None:
            size = size_of_volume(cluster, operator.shared_volume)
            self._run_flow(ensure_claim(operator.shared_volume, namespace=spec.namespace, size_tib=size))
        operator.raise_if_killed()
        started = self._run_flow(start_job(spec))
        job = {"namespace": started.namespace, "name": started.name, "uid": started.uid}
        self._ti.xcom_push(key=_JOB_KEY, value=job)
        operator.raise_if_killed()
        end_by = None if spec.timeout is None else started.asked_at + spec.timeout
        terms = Terms(started.asked_at + start_timeout, end_by)
        if default_deferrable(operator.deferrable):
            self._defer(started, terms)
        state = self._wait_here(started, terms)
        return self._conclude(started.namespace, started.name, started.uid, state)

    def conclude(self, event: Any) -> Any:
        """Go on after the triggerer has waited."""
        state, uid = self._state_of(event)
        return self._conclude(event["namespace"], event["job_name"], uid, self._seen_anew(event, state))

    def release_known(self) -> str:
        """Remove the job of an earlier part of the task; return a sentence on the outcome, if there is one."""
        job = self._ti.xcom_pull(task_ids=self._ti.task_id, key=_JOB_KEY, map_indexes=self._ti.map_index)
        return self._remove(job["namespace"], job["name"], job["uid"]) if job else ""

    def release_killed(self, *, is_urgent: bool) -> None:
        """Delete the job of a try that was killed, unless the task goes on without that try."""
        spec = self._own
        if spec is None:
            return
        try:
            if goes_on_without(self._ti):
                self._log.info("Job %s is left alive: another try of this task works with it.", spec.name)
            elif not self._delete_now(spec, _KILL_TIMEOUT if is_urgent else _SECOND_KILL_TIMEOUT):
                return  # it may still be made by the request that was interrupted
            self._own = None
        except (TogetherError, AirflowRuntimeError) as error:
            # Raised from a signal handler it would strike the task at any line.
            self._log.error("%s Job %s may still run.", error, spec.name)

    def _cluster(self) -> Cluster:
        cluster = self._operator.hook.get_gpu_cluster(self._operator.cluster_id)
        check_cluster(cluster, shared_volume=self._operator.shared_volume)
        return cluster

    def _spec_for(self, cluster: Cluster) -> JobSpec:
        operator = self._operator
        owner = deployed_owner_of(self._context, operator.hook.settings)
        workers, gpus = num_workers(cluster), gpus_of_node(cluster)
        num_nodes = count_of(operator.num_nodes) if operator.num_nodes is not None else None
        if operator.gpus_per_node is None:
            check_alike(cluster)
        per_node = count_of(operator.gpus_per_node) if operator.gpus_per_node is not None else None
        num_nodes = check_share("num_nodes", num_nodes or workers, workers, "GPU worker")
        per_node = check_share("gpus_per_node", gpus if per_node is None else per_node, gpus, "GPU", " on a node")
        return JobSpec(
            name=operator.job_name or job_name(owner),
            owner=owner_digest(owner),
            image=operator.image,
            num_nodes=num_nodes,
            gpus_per_node=per_node,
            namespace=operator.namespace,
            num_workers=workers,
            fills_node=2 * per_node > gpus,
            command=words_of(operator.command),
            arguments=words_of(operator.arguments),
            env_vars=texts_of(operator.env_vars),
            labels=texts_of(operator.labels),
            annotations=texts_of(operator.annotations),
            image_pull_policy=operator.image_pull_policy,
            image_pull_secrets=list(operator.image_pull_secrets or ()),
            service_account_name=operator.service_account_name,
            node_selector=texts_of(operator.node_selector),
            tolerations=list(operator.tolerations or ()),
            resources=dict(operator.container_resources or {}),
            shm_size=operator.shm_size,
            rdma_resource=operator.rdma_resource,
            master_port=int(operator.master_port),
            claim=operator.shared_volume,
            mount_path=operator.shared_volume_mount_path,
            timeout=None if operator.timeout is None else seconds_of("timeout", operator.timeout),
            pod_template=dict(operator.pod_template or {}),
        )

    def _defer(self, started: Started, terms: Terms) -> None:
        operator = self._operator
        now, end_by, timeout = self.driver.now(), None, None
        limit = effective_timeout(operator, math.inf if terms.end_by is None else terms.end_by - now, self._began_at)
        if limit < math.inf:
            end_by, timeout = now + limit, timedelta(seconds=max(limit, 0.0) + DEFERRAL_MARGIN)
        trigger = GPUClusterJobTrigger(
            operator.cluster_id,
            operator.together_conn_id,
            namespace=started.namespace,
            job_name=started.name,
            job_uid=started.uid,
            start_by=terms.start_by,
            end_by=end_by,
            poll_interval=seconds_of("poll_interval", operator.poll_interval),
            get_logs=truth_of("get_logs", operator.get_logs),
        )
        operator.raise_if_killed()
        operator.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)

    def _wait_here(self, started: Started, terms: Terms) -> JobState:
        get_logs = truth_of("get_logs", self._operator.get_logs)
        watch = JobWatch(
            started.namespace,
            started.name,
            terms,
            poll_interval=seconds_of("poll_interval", self._operator.poll_interval),
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
        self._log.info("[rank 0] %s", line)

    def _state_of(self, event: Any) -> tuple[JobState, str]:
        """Read the trigger's event."""
        fields = {
            "namespace": text,
            "job_name": text,
            "job_uid": text,
            "verdict": JobVerdict,
            "word": lambda word: Word(word) if word else None,
            "rank": lambda rank: None if rank is None else int(rank),
            "status": text,
        }
        told = read_event(event, fields, cluster_id=self._operator.cluster_id)
        word, rank = told["word"], told["rank"]
        culprit = None if rank is None else Rank(rank, RankPhase.FAILED, diagnosis=Diagnosis(word))
        reason = told["status"] or ("" if word is None else word.value)
        return JobState(told["verdict"], reason=reason, culprit=culprit), told["job_uid"]

    def _seen_anew(self, event: Mapping[str, Any], told: JobState) -> JobState:
        """Look once more for what an event does not hold: the result, or how a rank's log ends."""
        if told.verdict in {JobVerdict.CLUSTER_GONE, JobVerdict.REFUSED}:
            return told
        watch = JobWatch(event["namespace"], event["job_name"], Terms(0.0))
        try:
            seen = self._run_flow(look(watch, persists=True))
        except TogetherError as error:
            if told.verdict is JobVerdict.SUCCEEDED:
                raise  # a retry, which adopts the job, still gets its result
            self._log.warning("%s", error)
            return told
        if told.verdict is JobVerdict.SUCCEEDED and (not seen.ranks or not seen.ranks[0].pod):
            self._log.warning("The job has succeeded, but rank 0 is gone, and with it what it had left as its result.")
        if not seen.ranks:
            return told
        return replace(seen, verdict=told.verdict, culprit=seen.culprit or told.culprit)

    def _conclude(self, namespace: str, name: str, uid: str, state: JobState) -> Any:
        if state.verdict is JobVerdict.SUCCEEDED:
            result = parse_result(state.result)
            # Before the job is removed: should that fail, or this worker die, a retry still finds the result.
            remedy = "delete the job to have it made again"
            store_return_value(self._operator, self._ti, result, job=f"Job {name}", remedy=remedy)
            if is_cut(state):
                self._log.warning("The result of rank 0 may be cut off: Kubernetes keeps 4096 bytes of it.")
            fate = self._finish(namespace, name, uid)
            self._own = None
            self._log.info("Job %s has succeeded. %s", name, fate)
            return result
        tail = self._tail(namespace, state)
        fate = ""
        if state.verdict is JobVerdict.FAILED:
            fate = self._finish(namespace, name, uid)
        elif state.verdict not in {JobVerdict.GONE, JobVerdict.CLUSTER_GONE}:
            fate = self._remove(namespace, name, uid)
        self._own = None
        message = "\n".join(part for part in (f"{failure_sentence(name, state)} {fate}".strip(), tail) if part)
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
        return "" if state.culprit is None else self._run_flow(last_words_of(namespace, state.culprit))

    def _finish(self, namespace: str, name: str, uid: str) -> str:
        """Remove a job that has ended, or note at it that its outcome is known; return a sentence on the outcome."""
        if truth_of("delete_on_finish", self._operator.delete_on_finish):
            return self._remove(namespace, name, uid)
        self._own = None  # it is kept, so that a kill must not delete it
        try:
            self._run_flow(mark_taken(namespace, name))
        except TogetherError as error:
            return f"It could not be marked as known: {error}."
        return "It is kept."

    def _remove(self, namespace: str, name: str, uid: str) -> str:
        """Remove a job; return a sentence on the outcome."""
        try:
            if goes_on_without(self._ti):
                return "It is left alive: another try of this task works with it."
            self._run_flow(remove_job(namespace, name, uid=uid))
        except (TogetherError, AirflowRuntimeError) as error:
            return f"REMOVING IT FAILED: {error}. It may still hold its GPUs."
        return "It was removed."

    def _delete_now(self, spec: JobSpec, timeout: float) -> bool:
        """Delete the job of this task, if it is there, by a client of its own: the other one may be in use."""
        driver = self.driver.urgent(timeout)
        try:
            job = driver.send(kubernetes_api.get_job(spec.namespace, spec.name).once())
            if (job["metadata"].get("labels") or {}).get(OWNER_LABEL) != spec.owner:
                return True
            uid = job["metadata"]["uid"]
            driver.send(kubernetes_api.delete_job(spec.namespace, spec.name, uid=uid).once())
        except NotFoundError:
            return False
        self._log.info("Job %s is being deleted, since its task was ended.", spec.name)
        return True

    def _run_flow(self, flow: Flow[T]) -> T:
        """Run a flow of requests to Kubernetes that ends early if the task is killed."""
        with self._operator.asking_airflow(is_asking=False):
            return self.driver.run(flow, note=self._take_note, sleep=self._operator.sleep)

    def _take_note(self, note: Note) -> None:
        if isinstance(note, LogLines):
            for line in note.lines:
                self._log.info("[rank %s] %s", note.rank, line)
        else:
            self._log.info("%s", note.message)
        self._operator.raise_if_killed()
