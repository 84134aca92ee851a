"""
Training on a GPU cluster of type SLURM: one batch job, submitted once, waited for, cancelled with its task.

DAG files import this at every parse, so it holds parameters only. What a running task does is in
:mod:`airflow_provider_together.operators.slurm_task`, which is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.jobs.slurm import options as slurm_options
from airflow_provider_together.operators.owned_resource import OwnedResourceOperator
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    IDENTIFIER,
    Kind,
    check_extra,
    identifier,
    is_literal,
    number_between,
    optional,
)

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.operators.slurm_task import SlurmTask


class GPUClusterSlurmOperator(OwnedResourceOperator):
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
        *OwnedResourceOperator.template_fields,
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

    def begin(self, context: Context) -> SlurmTask:
        """See :meth:`~airflow_provider_together.operators.owned_resource.OwnedResourceOperator.begin`."""
        from airflow_provider_together.operators.slurm_task import SlurmTask  # noqa: PLC0415 - asyncssh, for tasks only

        return SlurmTask(self, context)
