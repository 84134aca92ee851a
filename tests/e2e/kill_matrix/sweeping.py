"""
The sweep, as a user runs it: the command, in a process of its own.

Separate, because it meets only what the shell meets: Airflow's settings and a connection in the environment.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.demo.environment import connection_variable

_TOGETHER = 2
_SECONDS = 120.0
_COMMAND = (
    *(str(Path(sys.executable).with_name("together-airflow")), "sweep"),
    *("--delete", "--timeout", "60", "--poll-interval", "0.5"),
)


def sweep(stack: AirflowStack, connections: Mapping[str, str]) -> dict[str, str]:
    """
    Sweep each connection once.

    :param connections: connection id to its JSON.
    :returns: what the command said about each.
    """

    def one(conn_id: str) -> str:
        variable = {connection_variable(conn_id): connections[conn_id]}
        result = subprocess.run(
            [*_COMMAND, "--conn-id", conn_id],
            env={**stack.environment, **variable},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        return f"status {result.returncode}\n{result.stdout}{result.stderr}"

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return dict(zip(connections, pool.map(one, connections), strict=True))
