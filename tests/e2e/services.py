"""
A private PostgreSQL and a private Redis, for as long as a ``with`` block lasts.

Separate from the Airflow that uses them, because they know nothing of it. The servers are Debian's, run in a folder
of their own and listen on loopback only; services of the machine, and their ports, are left alone. It imports no
Airflow.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_together.demo.environment import LOOPBACK, clean_environment
from airflow_provider_together.demo.process import LoggedProcess, stop_all

_POSTGRES_BINARIES = "/usr/lib/postgresql"
#: PostgreSQL refuses to run as root; this user comes with Debian's package.
_POSTGRES_USER = "postgres"
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_LOOK_INTERVAL = 0.05

#: Nothing has to outlive the test, so that nothing need reach the disk.
_HASTY = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=300")


class ServiceError(Exception):
    """A server is not installed, or does not start."""


@contextmanager
def postgresql() -> Iterator[str]:
    """
    Run a PostgreSQL with one empty database.

    :returns: its URL for SQLAlchemy.
    :raises ServiceError: if it is not installed or does not start.
    """
    binaries = _postgresql_binaries()
    as_user = _as_postgres_user()
    with _folder(owner=_POSTGRES_USER if as_user else None) as folder:
        data = folder / "data"
        _run([*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "airflow", "--auth=trust", "--no-sync"])
        port = _free_port()
        settings = [f"port={port}", f"listen_addresses={LOOPBACK}", "unix_socket_directories=", *_HASTY]
        options = [argument for setting in settings for argument in ("-c", setting)]
        command = [*as_user, str(binaries / "postgres"), "-D", str(data), *options]
        with _serving(command, folder=folder, ready="ready to accept connections"):
            yield f"postgresql+psycopg2://airflow@{LOOPBACK}:{port}/postgres"


@contextmanager
def redis() -> Iterator[str]:
    """
    Run a Redis that writes nothing to the disk.

    :returns: its URL.
    :raises ServiceError: if it is not installed or does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        message = "redis-server is not installed: apt-get install redis-server"
        raise ServiceError(message)
    with _folder() as folder:
        port = _free_port()
        command = [program, "--port", str(port), "--bind", LOOPBACK, "--save", "", "--dir", str(folder)]
        with _serving(command, folder=folder, ready="Ready to accept connections"):
            yield f"redis://{LOOPBACK}:{port}/0"


def _postgresql_binaries() -> Path:
    """Return the folder with the binaries of the newest PostgreSQL that is installed."""
    found = sorted(Path(_POSTGRES_BINARIES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        message = f"{_POSTGRES_BINARIES} has no PostgreSQL: apt-get install postgresql"
        raise ServiceError(message)
    return found[-1].parent


def _as_postgres_user() -> list[str]:
    """Return the beginning of a command that gives up being root; nothing if we are somebody else."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_POSTGRES_USER}", f"--regid={_POSTGRES_USER}", "--clear-groups", "--"]


@contextmanager
def _folder(owner: str | None = None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="together-service-")).resolve()
    try:
        if owner is not None:
            user = pwd.getpwnam(owner)
            os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(command: Sequence[str], *, folder: Path, ready: str) -> Iterator[None]:
    """Run a server, which says ``ready`` when it is, and stop it."""
    process = LoggedProcess(
        command, environment=clean_environment(os.environ), folder=folder, log_file=folder / "server.log"
    )
    try:
        _await_ready(process, ready)
        yield
    finally:
        stop_all([process], grace=_STOP_SECONDS)


def _await_ready(process: LoggedProcess, ready: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while ready not in process.output():
        if process.exit_status is not None or time.monotonic() > deadline:
            message = f"the server does not start (exit status {process.exit_status}):\n{process.tail()}"
            raise ServiceError(message)
        time.sleep(_LOOK_INTERVAL)


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if result.returncode != 0:
        message = f"{command[-1]}: status {result.returncode}:\n{result.stdout}{result.stderr}"
        raise ServiceError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
