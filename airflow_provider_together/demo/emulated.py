"""
The emulator as a process of its own, as an Airflow in production meets Together: over the network only.

It starts the emulator's command line and reads its address; it imports nothing of the emulator.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_together.demo.environment import clean_environment
from airflow_provider_together.demo.process import LoggedProcess, stop_all

_MODULE = "airflow_provider_together.emulator"
_URL = re.compile(r"http://127\.0\.0\.1:\d+")
_START_TIMEOUT = 30.0
_GRACE = 3.0
_LOOK_INTERVAL = 0.05


class EmulatorError(Exception):
    """The emulator does not start."""


@dataclass(frozen=True, slots=True)
class RunningEmulator:
    """Where the emulator is, and its key."""

    url: str
    api_key: str = field(repr=False)

    def connection(self, *, api: str) -> str:
        """Return an Airflow connection to it, as JSON."""
        return json.dumps({"conn_type": "together", "host": self.url, "password": self.api_key, "extra": {"api": api}})


@contextmanager
def running_emulator(*, speed: float, kubernetes: bool) -> Iterator[RunningEmulator]:
    """
    Run the emulator for the time of a ``with`` block.

    :param speed: simulated seconds per second.
    :param kubernetes: whether its clusters have a Kubernetes, for which it needs Linux.
    :raises EmulatorError: with what it has said.
    """
    # It opens nothing but an emulator on this machine, so that it may stand on the command line.
    api_key = f"emulated-{secrets.token_hex(8)}"
    command = [sys.executable, "-m", _MODULE, "--port", "0", "--api-key", api_key, "--speed", str(speed)]
    if kubernetes:
        command.append("--kubernetes")
    with tempfile.TemporaryDirectory(prefix="together-emulator-") as folder:
        process = LoggedProcess(
            command,
            environment=clean_environment(os.environ),
            folder=Path(folder),
            log_file=Path(folder) / "emulator.log",
        )
        try:
            yield RunningEmulator(_address(process), api_key)
        finally:
            stop_all([process], grace=_GRACE)


def _address(process: LoggedProcess) -> str:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.exit_status is None:
        first_line, end, _ = process.output().partition("\n")
        if end:
            match = _URL.search(first_line)
            if match is None:
                break
            return match[0]
        time.sleep(_LOOK_INTERVAL)
    message = f"the emulator does not start (exit status {process.exit_status}):\n{process.tail()}"
    raise EmulatorError(message)
