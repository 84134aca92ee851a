"""
Training on a GPU cluster of type SLURM: one batch job, submitted once, waited for, cancelled with its task.

The operator puts the life of a task and the life of a job together. How the login host is reached and what is done
there is in :mod:`airflow_provider_together.hooks.slurm`, which is imported when the task runs.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, cast

from airflow_provider_together.exceptions import SpecError, TogetherError
from airflow_provider_together.jobs.slurm import job as slurm
from airflow_provider_together.jobs.slurm import options as slurm_options
from airflow_provider_together.jobs.slurm.job import Ending, SlurmJob
from airflow_provider_together.operators.base import TogetherOperator
from airflow_provider_together.runtime.background import BackgroundLoop
from airflow_provider_together.runtime.compat import (
    AirflowException,
    AirflowRuntimeError,
    TaskDeferralError,
    TaskDeferralTimeout,
    get_connection,
    goes_on_without,
    state_store,
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
    identifier,
    is_literal,
    number_between,
    optional,
    seconds_of,
    truth_of,
)

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.hooks.slurm import SlurmHook
    from airflow_provider_together.jobs.slurm.programs import Submission
    from airflow_provider_together.runtime.login_host import Address

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


class GPUClusterSlurmOperator(TogetherOperator):
    """
    Run a batch job on the Slurm of a GPU cluster.

    The job is submitted once for this task: a try that follows a killed one, or an answer that was lost, goes on with
    the job that is there. A try that follows a failed job submits the next one. The return value is what the script
    writes to the file ``$TOGETHER_RESULT_PATH``, read as JSON if it is JSON, at most 4096 bytes; ``job_id`` is pushed
    under a key of its own as soon as the job exists.

    Where its login host is: the parameters here come first, then the Airflow connection ``ssh_conn_id``, then
    Together's pattern: ``slurm-login`` behind ``ssh.CLUSTER_ID.REGION.cloud.together.ai``. A host that is given without
    a jump host is entered directly. Host keys are always checked: a host with an unknown key is refused, and one whose
    key is given as ``accept-new`` is held to the key that it shows this task first, until ``cluster_id`` is another. A
    host that is refused while its job is waited for fails this try, in the worker as in the triggerer: the job goes on,
    and a retry follows it if the key that is given has been corrected.

    :param cluster_id: id of the cluster.
    :param region: its region; without one Together is asked.
    :param ssh_conn_id: Airflow connection of type ``ssh``. Read are ``login``, ``password``, ``host``, ``port`` and of
        the extra ``private_key`` or ``key_file``, ``private_key_passphrase``, ``host_key``, ``known_hosts``,
        ``jump_host`` and ``jump_host_key``.
    :param login: user name at Together. With it alone the keys of the user are taken that Airflow runs as.
    :param script: text of the batch script; its ``#SBATCH`` lines count. Windows line ends, a byte order mark, blank
        lines at the beginning and the indentation of a triple-quoted string are removed. A ``#SBATCH`` line after the
        first command, which Slurm would ignore, is refused. Without a first line ``#!``, bash runs it.
    :param script_file: a file with it instead, on the worker; a relative path begins in the DAG file's folder.
    :param sbatch_options: such as ``{"nodes": 2, "gpus-per-node": 8, "time": "04:00:00"}``, or words for sbatch.
    :param job_name: words for the job's name in Slurm; by default those of DAG and task.
    :param env: environment variables of the job, beside those of a login.
    :param output_path: file for the job's output on the shared home, with ``%j`` for the job's id; by default one in
        ``~/.airflow-together``.
    :param host: the login host.
    :param port: its port.
    :param jump_host: ``[USER@]HOST[:PORT]``.
    :param host_key: public key of the login host, such as ``ssh-ed25519 AAAA...``, more than one in lines; or
        ``accept-new``, for a cluster whose keys nobody can know yet.
    :param jump_host_key: the same for the jump host.
    :param known_hosts: file of known hosts, on worker and triggerer, for a host whose key is not given; by default
        ``~/.ssh/known_hosts``.
    :param get_logs: whether the job's output is shown in the task's log.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) to wait at the most; then the job is cancelled. It also limits the wait for
        room in Slurm's queue. The task's ``execution_timeout`` ends the job as well, deferred or not.
    :param together_conn_id: connection of type ``together``.
    """

    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "cluster_id",
        "region",
        "ssh_conn_id",
        "login",
        "script",
        "script_file",
        "sbatch_options",
        "job_name",
        "env",
        "output_path",
        "host",
        "port",
        "jump_host",
        "host_key",
        "jump_host_key",
        "known_hosts",
        "get_logs",
        "deferrable",
        "poll_interval",
        "timeout",
    )
    adds_costs = False
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "region": optional(IDENTIFIER),
        "ssh_conn_id": optional(IDENTIFIER),
        "login": optional(IDENTIFIER),
        "script": optional(
            Kind(
                lambda name, value: identifier(name, value) and slurm_options.batch_lines(slurm_options.runnable(value))
            )
        ),
        "script_file": optional(IDENTIFIER),
        "sbatch_options": optional(Kind(lambda _, value: slurm_options.option_words(value))),
        "job_name": optional(IDENTIFIER),
        "env": optional(Kind(lambda _, value: slurm_options.checked_environment(value, ()))),
        "output_path": optional(Kind(lambda name, value: slurm_options.log_pattern(identifier(name, value)))),
        "host": optional(IDENTIFIER),
        "port": optional(number_between(1, 65535)),
        "jump_host": optional(IDENTIFIER),
        "host_key": optional(IDENTIFIER),
        "jump_host_key": optional(IDENTIFIER),
        "known_hosts": optional(IDENTIFIER),
        "get_logs": FLAG,
        "deferrable": optional(FLAG),
        "poll_interval": DURATION,
        "timeout": DURATION,
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {"script": "bash", "sbatch_options": "json", "env": "json"}

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        cluster_id: str | XComArg,
        region: str | XComArg | None = None,
        ssh_conn_id: str | None = None,
        login: str | None = None,
        script: str | XComArg | None = None,
        script_file: str | None = None,
        sbatch_options: dict[str, Any] | list[str] | None = None,
        job_name: str | None = None,
        env: dict[str, Any] | None = None,
        output_path: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        jump_host: str | None = None,
        host_key: str | None = None,
        jump_host_key: str | None = None,
        known_hosts: str | None = None,
        get_logs: bool | str = True,
        deferrable: bool | str | None = None,
        poll_interval: float | str = 15.0,
        timeout: float | timedelta | str = timedelta(days=7),
        **kwargs: Any,
    ) -> None:
        check_extra("slurm", package="asyncssh", needed_by=type(self).__name__)
        super().__init__(**kwargs)
        self.cluster_id = cast("str", cluster_id)
        self.region = cast("str | None", region)
        self.ssh_conn_id = ssh_conn_id
        self.login = login
        self.script = cast("str | None", script)
        self.script_file = script_file
        self.sbatch_options = sbatch_options
        self.job_name = job_name
        self.env = env
        self.output_path = output_path
        self.host = host
        self.port = port
        self.jump_host = jump_host
        self.host_key = host_key
        self.jump_host_key = jump_host_key
        self.known_hosts = known_hosts
        self.get_logs = get_logs
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self._ti: Any = None
        #: What to cancel if this try is killed: where, which job, and the latest attempt whose end was told.
        self._own: tuple[Address, SlurmJob, int] | None = None
        self._background: BackgroundLoop | None = None
        self.check_parameters()

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        problems = []
        if ("script" in given) == ("script_file" in given):
            problems.append("give script or script_file, one of them")
        if "login" not in given and "ssh_conn_id" not in given:
            problems.append("login is missing: give your user name at Together, or ssh_conn_id")
        env, options = given.get("env"), given.get("sbatch_options")
        if is_literal(env) and is_literal(options):
            problems += slurm_options.export_conflicts(env, slurm_options.option_words(options))
        return problems

    def execute(self, context: Context) -> Any:
        """Submit the job, or go on with the one that is there, and wait for its end."""
        self._ti, started = context["ti"], time.time()
        with task_failures(), self._asking_airflow(is_asking=True):
            self.check_rendered_parameters()
            what = self._submission(context)
            self.publish_link(context, self.cluster_id)
            with self._cancelling_if_killed(), self._at_login_host(context) as hook:
                job = self._submit(context, hook, what, started=started)
                if default_deferrable(self.deferrable):
                    self._defer(hook.address, job, started=started)
                return self._conclude(context, hook, job, self._watch(hook, job))

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on after the triggerer has waited."""
        self._ti = context["ti"]
        with task_failures(), self._asking_airflow(is_asking=True):
            job, ending = self._read(context, event)
            if ending.state == slurm.CLUSTER_GONE:
                self._remember(context, job, is_concluded=True)
                raise AirflowException(ending.sentence(job.job_id))
            with self._cancelling_if_killed(), self._at_login_host(context) as hook:
                self._own = hook.address, job, 0
                return self._conclude(context, hook, job, ending)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Cancel the job also when Airflow ends the wait without an event: its timeout, a broken trigger."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            self._ti = context["ti"]
            with task_failures(), self._asking_airflow(is_asking=True), self._cancelling_if_killed():
                with self._at_login_host(context) as hook:
                    fate = self._cancel_latest(context, hook)
                message = f"Airflow has ended the wait for the job: {error}. {fate}"
                raise AirflowException(message) from None

    def on_kill(self) -> None:
        """
        Cancel the job, within the few seconds that Airflow grants.

        It runs inside a signal handler, or after ``execute`` has timed out. Where a signal has struck while Airflow
        was asked something, ``execute`` catches up as soon as the answer is there.
        """
        super().on_kill()
        if not self._is_asking_airflow:
            self._give_up()

    @contextmanager
    def _cancelling_if_killed(self) -> Iterator[None]:
        """
        Catch up on a kill whose signal struck while Airflow was asked something, also on the way to a deferral.

        :raises TaskKilledError: if there was one, and the job's end was not told yet.
        """
        try:
            yield
        finally:
            if self._was_killed and self._own is not None:
                self._give_up()
                self.raise_if_killed()

    def _give_up(self) -> None:
        """Cancel the job of a try that was killed, once, unless the task goes on without that try."""
        own, self._own = self._own, None
        if own is None:
            return
        address, job, concluded = own
        try:
            if goes_on_without(self._ti):
                self.log.info("%s goes on: another try of this task follows it.", job)
                return
        except AirflowRuntimeError as error:
            self.log.error("%s %s goes on.", error, job)  # noqa: TRY400 - in a signal handler
            return
        if trouble := self._cancel_at_once(address, job, concluded):
            self.log.error("%s is not cancelled: %s", job, trouble)
        else:
            self.log.info("%s is cancelled.", job)

    def _cancel_at_once(self, address: Address, job: SlurmJob, concluded: int) -> str:
        """Cancel by an event loop and a connection of its own: a signal may have struck anywhere in the others."""
        from airflow_provider_together.hooks.slurm import SlurmHook  # noqa: PLC0415 - for a task only

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
    def _at_login_host(self, context: Context) -> Iterator[SlurmHook]:
        """Lend a hook for :meth:`_await`."""
        from airflow_provider_together.hooks.slurm import SlurmHook  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.login_host import connection_of  # noqa: PLC0415 - for a task only

        connection = connection_of(self.ssh_conn_id) if self.ssh_conn_id else None
        address = self._address(context, connection)
        with BackgroundLoop() as background:
            self._background = background
            hook = SlurmHook(address, connection)
            try:
                yield hook
            finally:
                self._background = None
                wait([background.start(hook.close())], timeout=_KILL_SECONDS)

    def _address(self, context: Context, connection: Any) -> Address:
        from airflow_provider_together.runtime.login_host import Address, address_at  # noqa: PLC0415 - for a task only

        names = ("ssh_conn_id", "login", "host", "jump_host", "host_key", "jump_host_key", "known_hosts")
        given = Address(**{name: getattr(self, name) or "" for name in names}, port=int(self.port or 0))
        address = address_at(given, connection, cluster_id=self.cluster_id, region=self._region)
        return self._with_accepted_keys(context, address)

    def _region(self) -> str | None:
        return self.region or self.hook.get_gpu_cluster(self.cluster_id).region

    def _with_accepted_keys(self, context: Context, address: Address) -> Address:
        """Hold a host whose first key was accepted to that key."""
        from airflow_provider_together.runtime.login_host import ACCEPT_NEW  # noqa: PLC0415 - for a task only

        saved = self._saved(context)
        accepted = {
            name: saved[name]
            for name in ("host_key", "jump_host_key")
            if getattr(address, name) == ACCEPT_NEW and saved.get(name)
        }
        return replace(address, **accepted)

    def _submission(self, context: Context) -> Submission:
        from airflow_provider_together.jobs.slurm.programs import Submission  # noqa: PLC0415 - for a task only

        ti = context["ti"]
        index = f".{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
        script = slurm_options.runnable(self._script_text())
        options = slurm_options.option_words(self.sbatch_options)
        return Submission(
            words=self.job_name or f"{ti.dag_id}.{ti.task_id}{index}",
            script=script,
            batch_lines=slurm_options.batch_lines(script),
            options=options,
            env=slurm_options.checked_environment(self.env, options),
            output=slurm_options.log_pattern(self.output_path),
        )

    def _script_text(self) -> str:
        if self.script_file is None:
            return self.script or ""
        path = Path(self.dag.fileloc).parent / self.script_file
        try:
            return path.read_bytes().decode()
        except OSError as error:
            raise SpecError([f"script_file={self.script_file!r} cannot be read: {error}"]) from None
        except UnicodeDecodeError as error:
            raise SpecError([f"script_file={self.script_file!r} cannot be read: save it as UTF-8: {error}"]) from None

    def _submit(self, context: Context, hook: SlurmHook, what: Submission, *, started: float) -> SlurmJob:
        digest, concluded = self._recall(context)
        self._own = hook.address, SlurmJob(digest, 0), concluded
        deadline = time.time() + _START_SECONDS
        latest = self._await(hook.latest(digest, deadline=deadline))
        job = latest.job_to_follow(digest, concluded=concluded)
        if job is None:
            job = latest.next_job(digest, concluded=concluded)
            self._own = hook.address, job, concluded
            room_until = started + seconds_of("timeout", self.timeout)
            job = self._await(hook.submit(job, what, token=self._token, deadline=deadline, busy_deadline=room_until))
        else:
            self.log.info("Going on with %s, which an earlier try of this task has submitted.", job)
        self._own = hook.address, job, concluded
        context["ti"].xcom_push(key="job_id", value=job.job_id)
        self._remember(context, job, address=hook.address)
        self.raise_if_killed()
        return job

    def _watch(self, hook: SlurmHook, job: SlurmJob) -> Ending:
        from airflow_provider_together.hooks.slurm import is_cluster_gone  # noqa: PLC0415 - for a task only

        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        together = self.hook
        return self._await(
            hook.watch(
                job,
                slurm.JobWait(deadline=time.time() + seconds_of("timeout", self.timeout)),
                poll_interval=seconds_of("poll_interval", self.poll_interval),
                lines=slurm.Lines() if truth_of("get_logs", self.get_logs) else None,
                say=lines.put,
                is_gone=lambda: is_cluster_gone(self.cluster_id, together),
            ),
            lines,
        )

    def _defer(self, address: Address, job: SlurmJob, *, started: float) -> NoReturn:
        from airflow_provider_together.triggers.slurm import GPUClusterSlurmTrigger  # noqa: PLC0415 - costs a DAG much

        timeout = effective_timeout(self, seconds_of("timeout", self.timeout), started)
        trigger = GPUClusterSlurmTrigger(
            self.cluster_id,
            address.as_json(),
            job.digest,
            job.attempt,
            job.job_id,
            together_conn_id=self.together_conn_id,
            poll_interval=seconds_of("poll_interval", self.poll_interval),
            end_time=time.time() + timeout,
            get_logs=truth_of("get_logs", self.get_logs),
        )
        self.raise_if_killed()
        self.defer(
            trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=timeout + DEFERRAL_MARGIN)
        )

    def _read(self, context: Context, event: Any) -> tuple[SlurmJob, Ending]:
        """
        Read the trigger's event.

        :raises ValueError: if it is no event of ours.
        """
        try:
            job = SlurmJob(self._recall(context)[0], event["attempt"], event["job_id"])
            ending = Ending(event["state"], exit_code=event["exit_code"], reason=event["reason"])
        except (TypeError, KeyError):
            message = f"the trigger's event is not what this operator understands: {event!r}"
            raise ValueError(message) from None
        return job, ending

    def _conclude(self, context: Context, hook: SlurmHook, job: SlurmJob, ending: Ending) -> Any:
        """
        Tell Airflow how the job has ended, and mark it as told.

        What it has left is kept by Airflow before that: should Airflow refuse it, or this worker die, a retry finds the
        job again, and does not train again. A kill that strikes afterwards comes too late to end anything.

        :raises AirflowException: if it was not well.
        """
        from airflow_provider_together.runtime.return_value import store_return_value  # noqa: PLC0415 - for a task

        if ending.state == slurm.UNREACHABLE:
            message = f"{ending.sentence(job.job_id)} It goes on; a retry of this task follows it."
            raise AirflowException(message)
        if ending.state == slurm.TIMED_OUT:
            self._cancel_or_raise(hook, job, ending)
        value = None
        if ending.is_success:
            value = self._await(hook.result(job, deadline=time.time() + _START_SECONDS))
            remedy = "with do_xcom_push=False a retry passes without the result"
            store_return_value(self, context["ti"], value, job=str(job), remedy=remedy)
        self._own = None
        if ending.state != slurm.CLUSTER_GONE and self._background is not None:
            wait([self._background.start(hook.conclude(job))], timeout=_KILL_SECONDS)
        self._remember(context, job, is_concluded=True)
        if not ending.is_success:
            raise AirflowException(ending.sentence(job.job_id))
        self.log.info("%s", ending.sentence(job.job_id))
        return value

    def _cancel_or_raise(self, hook: SlurmHook, job: SlurmJob, ending: Ending) -> None:
        """Cancel a job that takes too long; while it runs on, it must stay the one that a retry follows."""
        if trouble := self._await(hook.cancel(job, deadline=time.time() + _CANCEL_SECONDS)):
            message = f"{ending.sentence(job.job_id)} It could not be cancelled and goes on: {trouble}"
            raise AirflowException(message)

    def _cancel_latest(self, context: Context, hook: SlurmHook) -> str:
        """Cancel the job of this task; return a sentence that says what became of it."""
        digest, concluded = self._recall(context)
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

    def _recall(self, context: Context) -> tuple[str, int]:
        """Return what stands for this task instance, and its latest attempt whose end was told."""
        from airflow_provider_together.runtime.memory import owner_of  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.registry import deployment_of  # noqa: PLC0415 - for a task only

        ti, saved = context["ti"], self._saved(context)
        anchor = str(getattr(ti, "dag_version_id", None) or "")
        deployment = saved.get("deployment") or deployment_of(self.hook.settings, anchor=anchor)
        if not saved:
            state_store(context).set(_JOB, {"deployment": deployment})
        return slurm.job_digest(self.cluster_id, deployment, owner_of(context).digest), saved.get("concluded", 0)

    def _remember(
        self, context: Context, job: SlurmJob, *, address: Address | None = None, is_concluded: bool = False
    ) -> None:
        concluded = job.attempt if is_concluded else job.attempt - 1
        saved = {**self._saved(context), "cluster_id": self.cluster_id, "job_id": job.job_id, "concluded": concluded}
        if address is not None:
            saved |= {"host_key": address.host_key, "jump_host_key": address.jump_host_key}
        state_store(context).set(_JOB, saved)

    def _saved(self, context: Context) -> dict[str, Any]:
        """Return what the task remembers; of another cluster, that was before this one, the deployment alone."""
        saved: dict[str, Any] = state_store(context).get(_JOB) or {}
        if saved.get("cluster_id", self.cluster_id) == self.cluster_id:
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
        with self._asking_airflow(is_asking=False):
            try:
                while not wait([future], timeout=_NAP).done:
                    self.raise_if_killed()
                    self._show(lines)
            except BaseException:
                future.cancel()
                raise
        self._show(lines)
        self.raise_if_killed()
        return future.result()

    def _show(self, lines: queue.SimpleQueue[str] | None) -> None:
        while lines is not None and not lines.empty():
            self.log.info("%s", lines.get())
