"""
Processes of their own: the server, and what is measured. Fresh ones, so that no peer pays for another's imports.

A measured process is a module of this folder that gets its arguments as one JSON object and prints its figures as one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Seconds that the server takes for an answer where waiting is measured; a real one takes longer.
DELAY = 0.02


class Control:
    """The benchmarks' own line to the server; it blocks, so it is used between measurements only."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def counters(self, **wanted: Any) -> dict[str, float]:
        """Return the counters, after setting what is to happen."""
        self._connection.request("POST", "/benchmark", json.dumps(wanted))
        counters: dict[str, float] = json.loads(self._connection.getresponse().read())
        return counters

    def ready_from(self, start: float, *, span: float = 0.0) -> None:
        """Let the clusters become READY from a moment on, evenly over a span."""
        self.counters(ready={"start": start, "span": span})

    def fail(self, status: int, *, seconds: float, retry_after: float) -> None:
        """Answer everything with a status for some seconds, from now on."""
        self.counters(fault={"status": status, "seconds": seconds, "retry_after": retry_after})


@contextlib.contextmanager
def serving(clusters: int, *, bystanders: int = 0, delay: float = DELAY) -> Iterator[Control]:
    """Run the server."""
    command = [sys.executable, "-m", "tests.benchmarks.server", str(clusters), str(bystanders), str(delay)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield Control(int(server.stdout.readline()))
        finally:
            server.stdin.close()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def connections(port: int) -> dict[str, str]:
    """Return the environment variables of everybody's connection to the server."""
    place = {"host": "127.0.0.1", "port": port, "schema": "http"}
    together = {"conn_type": "together", "host": f"http://127.0.0.1:{port}", "password": "key"}
    return {
        "AIRFLOW_CONN_TOGETHER_DEFAULT": json.dumps({**together, "extra": {"api": "tcloud"}}),
        "AIRFLOW_CONN_TOGETHER_COMPUTE": json.dumps({**together, "extra": {"api": "compute"}}),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({**place, "conn_type": "http"}),
        "AIRFLOW_CONN_DATABRICKS_DEFAULT": json.dumps({**place, "conn_type": "databricks", "password": "key"}),
    }


def measured(module: str, *, port: int = 0, limit: float, **arguments: Any) -> dict[str, Any]:
    """
    Run a module of this folder and return its figures.

    :param limit: seconds after which it is killed.
    """
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps({**arguments, "port": port})]
    environment = {**os.environ, **connections(port)}
    # Else each process would compile what it imports.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=limit, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        message = f"{module} {arguments} ended with {done.returncode}:\n{done.stderr[-4000:]}"
        raise RuntimeError(message)
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def arguments() -> dict[str, Any]:
    """Return the arguments of this measured process."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def log_as_airflow() -> None:
    """Log as Airflow does in its workers and triggerers, JSON at level INFO; the lines are made and thrown away."""
    from airflow.sdk.log import configure_logging

    nowhere = Path(os.devnull).open("wb")  # noqa: SIM115 - for as long as the process lives
    configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)
    sys.excepthook = sys.__excepthook__  # a failure of the benchmark itself is not to be thrown away


def tell(figures: dict[str, Any]) -> None:
    """Print the figures of this measured process, and end it: thousands of clients need not be closed one by one."""
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
    sys.stdout.flush()
    os._exit(0)
