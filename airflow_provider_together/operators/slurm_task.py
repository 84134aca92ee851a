"""
What a task of :class:`~airflow_provider_together.operators.slurm.GPUClusterSlurmOperator` does while it runs.

The operator's other half: DAG files import the operator, and only a task that runs imports this, with the hook, the
trigger and asyncssh. It puts the life of a task and the life of a job together.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow_provider_together.exceptions import SpecError, TogetherError
from airflow_provider_together.hooks.slurm import SlurmHook, is_cluster_gone
from airflow_provider_together.jobs.slurm import job as slurm
from airflow_provider_together.jobs.slurm import options as slurm_options
from airflow_provider_together.jobs.slurm.job import Ending, SlurmJob
from airflow_provider_together.jobs.slurm.programs import Submission
from airflow_provider_together.runtime.background import BackgroundLoop
from airflow_provider_together.runtime.compat.storage import state_store
from airflow_provider_together.runtime.compat.task_state import goes_on_without
from airflow_provider_together.runtime.compat.versions import AirflowException, AirflowRuntimeError, get_connection
from airflow_provider_together.runtime.deferral import DEFERRAL_MARGIN, effective_timeout
from airflow_provider_together.runtime.events import read_event, text
from airflow_provider_together.runtime.login_host import ACCEPT_NEW, Address, address_at, connection_of
from airflow_provider_together.runtime.memory import deployment_for, owner_of
from airflow_provider_together.runtime.parameters import default_deferrable, seconds_of, truth_of
from airflow_provider_together.runtime.return_value import store_return_value
from airflow_provider_together.triggers.slurm import GPUClusterSlurmTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.operators.slurm import GPUClusterSlurmOperator

T = TypeVar("T")

#: Seconds between two looks at the kill flag and at new output.
_NAP = 0.5
#: Seconds that a login host has to answer at all, when a task begins or asks for a result.
_START_SECONDS = 600.0
#: Seconds that a cancellation may take: inside a signal handler, where Airflow kills for good 5 s after the signal,
#: and otherwise.
_KILL_SECONDS = 4.0
_CANCEL_SECONDS = 60.0
#: Key in the task's storage.
_JOB = "together_slurm_job"


class SlurmTask:
    """
    What :class:`~airflow_provider_together.operators.owned_resource.OwnedResourceOperator` needs for a batch job.

    :param operator: with its parameters rendered.
    :param context: of the task that runs.
    """

    what = "the job"

    def __init__(self, operator: GPUClusterSlurmOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._ti: Any = context["ti"]
        self._log = operator.log
        #: What to cancel if this try is killed: where, which job, and the latest attempt whose end was told.
        self._own: tuple[Address, SlurmJob, int] | None = None
        self._background: BackgroundLoop | None = None

    @property
    def owns(self) -> bool:
        """Whether there may be a job that a kill has to cancel."""
        return self._own is not None

    def start(self) -> Any:
        """Submit the job, or go on with the one that is there, and wait for its end, unless the triggerer does."""
        operator, started = self._operator, time.time()
        what = self._submission()
        operator.publish_link(self._context, operator.cluster_id)
        with self._at_login_host() as hook:
            job = self._submit(hook, what, started=started)
            if default_deferrable(operator.deferrable):
                self._defer(hook.address, job, started=started)
            return self._conclude(hook, job, self._watch(hook, job))

    def conclude(self, event: Any) -> Any:
        """Go on after the triggerer has waited."""
        job, ending = self._read(event)
        if ending.state == slurm.CLUSTER_GONE:
            self._remember(job, is_concluded=True)
            raise AirflowException(ending.sentence(job.job_id))
        with self._at_login_host() as hook:
            self._own = hook.address, job, 0
            return self._conclude(hook, job, ending)

    def release_known(self) -> str:
        """Cancel the job of this task; return a sentence on the outcome."""
        with self._at_login_host() as hook:
            return self._cancel_latest(hook)

    def release_killed(self, *, is_urgent: bool) -> None:  # noqa: ARG002 - it takes a few seconds at the most anyway
        """Cancel the job of a try that was killed, once, unless the task goes on without that try."""
        own, self._own = self._own, None
        if own is None:
            return
        address, job, concluded = own
        try:
            if goes_on_without(self._ti):
                self._log.info("%s goes on: another try of this task follows it.", job)
                return
        except AirflowRuntimeError as error:
            self._log.error("%s %s goes on.", error, job)
            return
        if trouble := self._cancel_at_once(address, job, concluded):
            self._log.error("%s is not cancelled: %s", job, trouble)
        else:
            self._log.info("%s is cancelled.", job)

    def _cancel_at_once(self, address: Address, job: SlurmJob, concluded: int) -> str:
        """Cancel by an event loop and a connection of its own: a signal may have struck anywhere in the others."""
        connection = get_connection(address.ssh_conn_id) if address.ssh_conn_id else None

        async def cancel() -> str:
            async with SlurmHook(address, connection) as hook:
                return await hook.cancel(job, token=self._token, concluded=concluded)

        with BackgroundLoop() as background:
            cancelling = background.start(cancel())
            wait([cancelling], timeout=_KILL_SECONDS)
            return cancelling.result() if cancelling.done() else f"no answer within {_KILL_SECONDS:g} s"

    @property
    def _token(self) -> str:
        """What tells this try from others of its task."""
        return str(self._ti.id)

    @contextmanager
    def _at_login_host(self) -> Iterator[SlurmHook]:
        """Lend a hook for :meth:`_await`."""
        conn_id = self._operator.ssh_conn_id
        connection = connection_of(conn_id) if conn_id else None
        address = self._address(connection)
        with BackgroundLoop() as background:
            self._background = background
            hook = SlurmHook(address, connection)
            try:
                yield hook
            finally:
                self._background = None
                wait([background.start(hook.close())], timeout=_KILL_SECONDS)

    def _address(self, connection: Any) -> Address:
        operator = self._operator
        names = ("ssh_conn_id", "login", "host", "jump_host", "host_key", "jump_host_key", "known_hosts")
        given = Address(**{name: getattr(operator, name) or "" for name in names}, port=int(operator.port or 0))
        address = address_at(given, connection, cluster_id=operator.cluster_id, region=self._region)
        return self._with_accepted_keys(address)

    def _region(self) -> str | None:
        operator = self._operator
        return operator.region or operator.hook.get_gpu_cluster(operator.cluster_id).region

    def _with_accepted_keys(self, address: Address) -> Address:
        """Hold a host whose first key was accepted to that key."""
        saved = self._saved()
        accepted = {
            name: saved[name]
            for name in ("host_key", "jump_host_key")
            if getattr(address, name) == ACCEPT_NEW and saved.get(name)
        }
        return replace(address, **accepted)

    def _submission(self) -> Submission:
        operator, ti = self._operator, self._ti
        index = f".{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
        script = slurm_options.runnable(self._script_text())
        options = slurm_options.option_words(operator.sbatch_options)
        return Submission(
            words=operator.job_name or f"{ti.dag_id}.{ti.task_id}{index}",
            script=script,
            batch_lines=slurm_options.batch_lines(script),
            options=options,
            env=slurm_options.checked_environment(operator.env, options),
            output=slurm_options.log_pattern(operator.output_path),
        )

    def _script_text(self) -> str:
        file = self._operator.script_file
        if file is None:
            return self._operator.script or ""
        path = Path(self._operator.dag.fileloc).parent / file
        try:
            return path.read_bytes().decode()
        except OSError as error:
            raise SpecError([f"script_file={file!r} cannot be read: {error}"]) from None
        except UnicodeDecodeError as error:
            raise SpecError([f"script_file={file!r} cannot be read: save it as UTF-8: {error}"]) from None

    def _submit(self, hook: SlurmHook, what: Submission, *, started: float) -> SlurmJob:
        digest, concluded = self._recall()
        self._own = hook.address, SlurmJob(digest, 0), concluded
        deadline = time.time() + _START_SECONDS
        latest = self._await(hook.latest(digest, deadline=deadline))
        job = latest.job_to_follow(digest, concluded=concluded)
        if job is None:
            job = latest.next_job(digest, concluded=concluded)
            self._own = hook.address, job, concluded
            room_until = started + self._timeout
            job = self._await(hook.submit(job, what, token=self._token, deadline=deadline, busy_deadline=room_until))
        else:
            self._log.info("Going on with %s, which an earlier try of this task has submitted.", job)
        self._own = hook.address, job, concluded
        self._ti.xcom_push(key="job_id", value=job.job_id)
        self._remember(job, address=hook.address)
        self._operator.raise_if_killed()
        return job

    @property
    def _timeout(self) -> float:
        """Seconds to wait at the most."""
        return seconds_of("timeout", self._operator.timeout)

    def _watch(self, hook: SlurmHook, job: SlurmJob) -> Ending:
        operator = self._operator
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        together = operator.hook
        return self._await(
            hook.watch(
                job,
                slurm.JobWait(deadline=time.time() + self._timeout),
                poll_interval=seconds_of("poll_interval", operator.poll_interval),
                lines=slurm.Lines() if truth_of("get_logs", operator.get_logs) else None,
                say=lines.put,
                is_gone=lambda: is_cluster_gone(operator.cluster_id, together),
            ),
            lines,
        )

    def _defer(self, address: Address, job: SlurmJob, *, started: float) -> NoReturn:
        operator = self._operator
        timeout = effective_timeout(operator, self._timeout, started)
        trigger = GPUClusterSlurmTrigger(
            operator.cluster_id,
            address.as_json(),
            job.digest,
            job.attempt,
            job.job_id,
            together_conn_id=operator.together_conn_id,
            poll_interval=seconds_of("poll_interval", operator.poll_interval),
            end_time=time.time() + timeout,
            get_logs=truth_of("get_logs", operator.get_logs),
        )
        operator.raise_if_killed()
        operator.defer(
            trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=timeout + DEFERRAL_MARGIN)
        )

    def _read(self, event: Any) -> tuple[SlurmJob, Ending]:
        """
        Read the trigger's event.

        :raises ValueError: if it is no event of ours.
        """
        fields: Mapping[str, Callable[[Any], Any]] = {
            "job_id": text,
            "attempt": int,
            "state": text,
            "exit_code": lambda code: None if code is None else int(code),
            "reason": text,
        }
        told = read_event(event, fields, cluster_id=self._operator.cluster_id)
        job = SlurmJob(self._recall()[0], told["attempt"], told["job_id"])
        return job, Ending(told["state"], exit_code=told["exit_code"], reason=told["reason"])

    def _conclude(self, hook: SlurmHook, job: SlurmJob, ending: Ending) -> Any:
        """
        Tell Airflow how the job has ended, and mark it as told.

        What it has left is kept by Airflow before that: should Airflow refuse it, or this worker die, a retry finds the
        job again, and does not train again. A kill that strikes afterwards comes too late to end anything.

        :raises AirflowException: if it was not well.
        """
        if ending.state == slurm.UNREACHABLE:
            message = f"{ending.sentence(job.job_id)} It goes on; a retry of this task follows it."
            raise AirflowException(message)
        if ending.state == slurm.TIMED_OUT:
            self._cancel_or_raise(hook, job, ending)
        value = None
        if ending.is_success:
            value = self._await(hook.result(job, deadline=time.time() + _START_SECONDS))
            remedy = "with do_xcom_push=False a retry passes without the result"
            store_return_value(self._operator, self._ti, value, job=str(job), remedy=remedy)
        self._own = None
        if ending.state != slurm.CLUSTER_GONE and self._background is not None:
            wait([self._background.start(hook.conclude(job))], timeout=_KILL_SECONDS)
        self._remember(job, is_concluded=True)
        if not ending.is_success:
            raise AirflowException(ending.sentence(job.job_id))
        self._log.info("%s", ending.sentence(job.job_id))
        return value

    def _cancel_or_raise(self, hook: SlurmHook, job: SlurmJob, ending: Ending) -> None:
        """Cancel a job that takes too long; while it runs on, it must stay the one that a retry follows."""
        if trouble := self._await(hook.cancel(job, deadline=time.time() + _CANCEL_SECONDS)):
            message = f"{ending.sentence(job.job_id)} It could not be cancelled and goes on: {trouble}"
            raise AirflowException(message)

    def _cancel_latest(self, hook: SlurmHook) -> str:
        """Cancel the job of this task; return a sentence on the outcome."""
        digest, concluded = self._recall()
        self._own = hook.address, SlurmJob(digest, 0), concluded
        deadline = time.time() + _CANCEL_SECONDS
        try:
            job = self._await(hook.latest(digest, deadline=deadline)).job_to_follow(digest, concluded=concluded)
            trouble = job and self._await(hook.cancel(job, deadline=deadline))
        except TogetherError as error:
            return f"Whether its Slurm job goes on is not known: {error}"
        if job is None:
            return "It has no Slurm job that runs."
        return f"{job} goes on: {trouble}" if trouble else f"{job} is cancelled."

    def _recall(self) -> tuple[str, int]:
        """Return what stands for this task instance, and its latest attempt whose end was told."""
        operator, saved = self._operator, self._saved()
        deployment = saved.get("deployment") or deployment_for(self._context, operator.hook.settings)
        if not saved:
            state_store(self._context).set(_JOB, {"deployment": deployment})
        digest = slurm.job_digest(operator.cluster_id, deployment, owner_of(self._context).digest)
        return digest, saved.get("concluded", 0)

    def _remember(self, job: SlurmJob, *, address: Address | None = None, is_concluded: bool = False) -> None:
        concluded = job.attempt if is_concluded else job.attempt - 1
        own = {"cluster_id": self._operator.cluster_id, "job_id": job.job_id, "concluded": concluded}
        saved = {**self._saved(), **own}
        if address is not None:
            saved |= {"host_key": address.host_key, "jump_host_key": address.jump_host_key}
        state_store(self._context).set(_JOB, saved)

    def _saved(self) -> dict[str, Any]:
        """Return what the task remembers; of another cluster, that was before this one, the deployment alone."""
        saved: dict[str, Any] = state_store(self._context).get(_JOB) or {}
        cluster_id = self._operator.cluster_id
        if saved.get("cluster_id", cluster_id) == cluster_id:
            return saved
        return {"deployment": saved["deployment"]} if "deployment" in saved else {}

    def _await(self, coroutine: Coroutine[Any, Any, T], lines: queue.SimpleQueue[str] | None = None) -> T:
        """
        Wait for a coroutine in the background, and show lines meanwhile.

        :raises TaskKilledError: as soon as the task is killed.
        """
        if self._background is None:
            message = "there is no event loop"
            raise RuntimeError(message)
        future = self._background.start(coroutine)
        with self._operator.asking_airflow(is_asking=False):
            try:
                while not wait([future], timeout=_NAP).done:
                    self._operator.raise_if_killed()
                    self._show(lines)
            except BaseException:
                future.cancel()
                raise
        self._show(lines)
        self._operator.raise_if_killed()
        return future.result()

    def _show(self, lines: queue.SimpleQueue[str] | None) -> None:
        while lines is not None and not lines.empty():
            self._log.info("%s", lines.get())
