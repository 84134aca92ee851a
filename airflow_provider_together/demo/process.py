"""
A process of ours with everything that it starts: run, watched, and stopped without a trace.

Separate, because Airflow's components fork, and their tasks move into process groups of their own. What
they cannot leave is the session, so each process leads one. It knows nothing of Airflow, and imports
nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

_LOOK_INTERVAL = 0.05
#: Seconds to wait for the kernel to take away killed processes.
_REAP_TIMEOUT = 10.0


class LoggedProcess:
    """
    A process that leads a session of its own and writes to a file.

    :param command: program and arguments; secrets belong in the environment, which other users cannot read.
    :param log_file: gets its output, after what is already in it.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log_file: Path) -> None:
        self.log_file = log_file
        self.started = time.time()
        self._is_over = False
        with log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its session, too."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """How it ended; None while it runs, negative for the signal that ended it."""
        return self._process.poll()

    def output(self) -> str:
        """Return what it has written so far."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 30) -> str:
        """Return the last lines that it has written."""
        return "\n".join(self.output().splitlines()[-lines:])

    def session(self) -> list[int]:
        """Return the ids of the live processes of its session, itself and orphans included."""
        if self._is_over:
            return []
        members = [pid for pid in psutil.pids() if _session_of(pid) == self.pid and _is_alive(pid)]
        # The kernel may give the id of an empty session to a stranger: from now on nothing here is ours.
        self._is_over = not members and self._process.poll() is not None
        return members

    def send(self, signum: signal.Signals, *, to_session: bool = False) -> None:
        """Send a signal to the process, or to all of its session."""
        for pid in self.session() if to_session else [self.pid]:
            with contextlib.suppress(ProcessLookupError):
                if to_session or self._process.poll() is None:
                    os.kill(pid, signum)

    def wait(self, timeout: float) -> None:
        """
        Wait for its end.

        :param timeout: seconds.
        :raises TimeoutError: if it runs on.
        """
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            message = f"{self.log_file.stem} (pid {self.pid}) runs on after {timeout:.0f} s"
            raise TimeoutError(message) from None


def stop_all(processes: Iterable[LoggedProcess], *, grace: float) -> None:
    """
    Stop processes and everything in their sessions.

    :param grace: seconds for all together to end by themselves after SIGTERM; then they are killed. A second
        Ctrl-C cuts it short.
    """
    processes = list(processes)
    try:
        for process in processes:
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and any(process.session() for process in processes):
            _reap(processes)
            time.sleep(_LOOK_INTERVAL)
    finally:
        _kill(processes)


def _kill(processes: list[LoggedProcess]) -> None:
    deadline = time.monotonic() + _REAP_TIMEOUT
    # More than once: a process may fork between the look and the signal.
    while any(process.session() for process in processes):
        for process in processes:
            process.send(signal.SIGKILL, to_session=True)
        _reap(processes)
        if time.monotonic() > deadline:
            left = [pid for process in processes for pid in process.session()]
            message = f"processes {left} do not end even when killed"
            raise TimeoutError(message)
        time.sleep(_LOOK_INTERVAL)
    _reap(processes)


def _reap(processes: list[LoggedProcess]) -> None:
    for process in processes:
        _ = process.exit_status


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
