"""
A throw-away Airflow that really runs: database, api-server, scheduler, DAG processor, triggerer.

It owns the folder and the processes, and leaves neither behind. Each component is a process of its own, as in
production, so that each can be killed on purpose; `airflow standalone` is not used, since its log servers
listen on all interfaces and it leaves children behind. Nothing of Airflow is imported here: the processes run
whatever version this interpreter has.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

import httpx

from airflow_provider_together.demo.airflow_api import AirflowAPI, AirflowUnavailableError, Run, TaskInstance
from airflow_provider_together.demo.dag_folder import DagFolder
from airflow_provider_together.demo.environment import LOCAL_EXECUTOR, LOOPBACK, airflow_settings, clean_environment
from airflow_provider_together.demo.process import LoggedProcess, stop_all

T = TypeVar("T")

API_SERVER = "api-server"
SCHEDULER = "scheduler"
DAG_PROCESSOR = "dag-processor"
TRIGGERER = "triggerer"

#: Arguments of `airflow` for each component. The log servers, which would listen on all interfaces, stay off:
#: the api-server reads the logs from the disk.
COMPONENTS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        API_SERVER: ("api-server",),
        SCHEDULER: ("scheduler", "--skip-serve-logs"),
        DAG_PROCESSOR: ("dag-processor",),
        TRIGGERER: ("triggerer", "--skip-serve-logs"),
    }
)

_MIGRATION_TIMEOUT = 180.0
_START_TIMEOUT = 180.0
_DEATH_TIMEOUT = 30.0
#: Seconds for which SQLite waits for another process to end its change; after its own five, on a busy machine, the
#: DAG processor and the triggerer end.
_LOCK_TIMEOUT = 60.0
_LOOK_INTERVAL = 0.25
_DEADLY = frozenset({signal.SIGINT, signal.SIGKILL, signal.SIGTERM})


class StackError(Exception):
    """The throw-away Airflow does not start, does not go on, or does not do what was waited for."""


class AirflowStack:
    """
    Context manager: an Airflow for the time of a ``with`` block.

    :param environment: variables beyond those of the stack, such as ``AIRFLOW_CONN_…`` or settings of Airflow
        that differ. Secrets belong here, for a command line is public.
    :param sql_alchemy_conn: URL of an empty metadata database; by default a new SQLite file.
    :param executor: as in ``[core] executor``; by default LocalExecutor without a fault of it, see ``executor.py``.
        One that needs workers of its own gets them as components.
    :param parallelism: how many tasks run at a time.
    :param extra_components: further processes, as name and arguments of ``airflow``: a second triggerer
        ``{"triggerer-2": ("triggerer", "--skip-serve-logs")}``, a Celery worker, …
    :param ready_texts: what such a process writes when it is ready, for those to wait for; Airflow's
        own report of health does not know them.
    :param grace: seconds that the components get to end by themselves; a triggerer takes more than ten, with
        or without triggers.
    :param keep: whether the folder, with the logs, is left on the disk.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the stack
        self,
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
        sql_alchemy_conn: str | None = None,
        executor: str = LOCAL_EXECUTOR,
        parallelism: int = 4,
        extra_components: Mapping[str, Sequence[str]] = MappingProxyType({}),
        ready_texts: Mapping[str, str] = MappingProxyType({}),
        grace: float = 5.0,
        keep: bool = False,
    ) -> None:
        # Short and without links: the path ends up in URLs of databases and names of sockets.
        self.home = Path(tempfile.mkdtemp(prefix="together-airflow-")).resolve()
        self.keep = keep
        self._grace = grace
        self.dags = DagFolder(self.home / "dags")
        port = _free_port()
        settings = airflow_settings(
            self.home,
            port=port,
            sql_alchemy_conn=sql_alchemy_conn or f"sqlite:///{self.home}/airflow.db?timeout={_LOCK_TIMEOUT:.0f}",
            executor=executor,
            parallelism=parallelism,
        )
        if sql_alchemy_conn is None:
            _write_plugin(self.home / "plugins")
        self.environment = {**clean_environment(os.environ), **settings, **environment}
        self.api = AirflowAPI(f"http://{LOOPBACK}:{port}")
        self._commands = {**COMPONENTS, **extra_components}
        self._ready_texts = ready_texts
        self._components: dict[str, LoggedProcess] = {}
        self._killed: set[str] = set()
        # A killed component may leave orphans, so that its process is stopped once more at the end.
        self._processes: list[LoggedProcess] = []

    def __enter__(self) -> Self:
        try:
            self._migrate()
            for name in self._commands:
                self._start(name)
            self._await_health(self._commands)
            self.api.log_in()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every process and remove the folder. Doing it twice is harmless."""
        try:
            stop_all(self._processes, grace=self._grace)
        finally:
            self.api.close()
            if not self.keep:
                shutil.rmtree(self.home, ignore_errors=True)

    def component(self, name: str) -> LoggedProcess:
        """Return the process of a component."""
        return self._components[name]

    def kill(self, name: str, signum: signal.Signals = signal.SIGKILL, *, with_children: bool = False) -> None:
        """
        Send a signal to a component, and wait for its end if the signal is a deadly one.

        From then on its death is no trouble, see :meth:`check`.

        :param with_children: whether its children get the signal, too; without it they are orphans, as
            after a real crash.
        """
        component = self._components[name]
        if signum in _DEADLY:
            self._killed.add(name)
        component.send(signum, to_session=with_children)
        if signum in _DEADLY:
            component.wait(_DEATH_TIMEOUT)

    def kill_task(self, run: Run, task_id: str, *, map_index: int = -1) -> None:
        """
        Kill the process of a running task, as the kernel does when memory runs out; its supervisor sees it.

        :raises StackError: if no such process runs here.
        """
        instance = self.api.task_instance(run, task_id, map_index=map_index)
        ours = {pid for process in self._processes for pid in process.session()}
        if instance.state != "running" or instance.pid not in ours:
            message = f"{instance.name} is {instance.state} and has no process here (pid {instance.pid})"
            raise StackError(message)
        os.kill(instance.pid, signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Start a component again, after ending what is left of it, and wait until it is healthy."""
        stop_all([self._components[name]], grace=self._grace)
        self._start(name)
        self._await_health([name])

    def check(self) -> None:
        """
        Make sure that every component runs, but for those that were killed on purpose.

        :raises StackError: with the end of the log of one that has died.
        """
        for name, process in self._components.items():
            if name not in self._killed and process.exit_status is not None:
                message = f"Airflow's {name} ended with status {process.exit_status}:\n{process.tail()}"
                raise StackError(message)

    def wait_for(self, condition: Callable[[], T | None], *, what: str, timeout: float) -> T:
        """
        Ask again and again until the answer is true, and return it.

        :param condition: the question; that Airflow does not answer now counts as no.
        :param what: for the message.
        :param timeout: seconds.
        :raises StackError: when time is over, or a component has died.
        """
        deadline = time.monotonic() + timeout
        trouble = ""
        while time.monotonic() < deadline:
            self.check()
            try:
                if answer := condition():
                    return answer
            except (httpx.TransportError, AirflowUnavailableError) as error:
                trouble = f" ({error})"
            time.sleep(_LOOK_INTERVAL)
        logs = "\n".join(f"--- {name}\n{process.tail(10)}" for name, process in self._components.items())
        message = f"{what}: not within {timeout:.0f} s{trouble}\n{logs}"
        raise StackError(message)

    def wait_for_dag(self, dag_id: str | None = None, *, timeout: float = 60.0) -> str:
        """
        Wait until the DAG processor has read a DAG.

        :param dag_id: None for the first one, whatever its name.
        :returns: its id.
        :raises StackError: if a DAG file cannot be imported, with the traceback.
        """

        def found() -> str | None:
            if errors := self.api.import_errors():
                message = "a DAG file cannot be imported:\n" + "\n".join(errors)
                raise StackError(message)
            return next((name for name in self.api.dag_ids() if dag_id in {None, name}), None)

        return self.wait_for(found, what=f"DAG {dag_id or 'file'} read", timeout=timeout)

    def start_run(self, dag_id: str) -> Run:
        """Wait for a DAG, unpause it and start a run."""
        self.wait_for_dag(dag_id)
        self.api.set_paused(dag_id, is_paused=False)
        return self.api.trigger(dag_id)

    def wait_for_task(
        self,
        run: Run,
        task_id: str,
        *states: str,
        map_index: int = -1,
        timeout: float = 60.0,
    ) -> TaskInstance:
        """Wait until a task is in one of the states, and return it as it is then."""

        def there() -> TaskInstance | None:
            instance = self.api.task_instance(run, task_id, map_index=map_index)
            return instance if instance.state in states else None

        what = f"task {task_id} {' or '.join(states)}"
        return self.wait_for(there, what=what, timeout=timeout)

    def wait_for_run(self, run: Run, *, timeout: float = 120.0) -> str:
        """Wait for the end of a run, and return its state."""

        def ended() -> str | None:
            state = self.api.run_state(run)
            return state if state in {"success", "failed"} else None

        return self.wait_for(ended, what=f"run {run.run_id} ended", timeout=timeout)

    def _migrate(self) -> None:
        process = self._launch("migration", ("db", "migrate"))
        process.wait(_MIGRATION_TIMEOUT)
        if process.exit_status != 0:
            message = f"`airflow db migrate` ended with status {process.exit_status}:\n{process.tail()}"
            raise StackError(message)

    def _start(self, name: str) -> None:
        self._components[name] = self._launch(name, self._commands[name])
        self._killed.discard(name)

    def _launch(self, name: str, arguments: Sequence[str]) -> LoggedProcess:
        process = LoggedProcess(
            [sys.executable, "-m", "airflow", *arguments],
            environment=self.environment,
            folder=self.home,
            log_file=self.home / f"{name}.log",
        )
        self._processes.append(process)
        return process

    def _await_health(self, names: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        """Wait for a sign of life from each component that has begun since its process was started."""

        def healthy() -> bool:
            # Airflow calls a dead component healthy until its last heartbeat is old, so the time counts.
            beats = self.api.heartbeats()
            return all(
                beats.get(name, 0.0) >= self._components[name].started
                for name in names
                if name in COMPONENTS and name != API_SERVER
            ) and all(
                text in self._components[name].output() for name, text in self._ready_texts.items() if name in names
            )

        self.wait_for(healthy, what=f"Airflow healthy ({', '.join(names)})", timeout=_START_TIMEOUT)


def _write_plugin(folder: Path) -> None:
    folder.mkdir()
    (folder / "write_queue.py").write_text("from airflow_provider_together.demo.write_queue import WriteQueuePlugin\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


__all__ = [
    "API_SERVER",
    "COMPONENTS",
    "DAG_PROCESSOR",
    "SCHEDULER",
    "TRIGGERER",
    "AirflowStack",
    "Run",
    "StackError",
    "TaskInstance",
]
