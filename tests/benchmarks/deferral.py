"""
Measured process: what a deferrable sensor takes of a worker, before it defers or when it is resumed.

Airflow runs the two parts of a wait in two processes, each of which imports the sensor's module on top of airflow.sdk,
makes the sensor and calls one method. The time between them is the triggerer's. Both clocks begin before the import:
wall is how long the worker's slot is taken, which includes the server's 20 ms for the first look.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

from tests.benchmarks.peers import PEERS
from tests.benchmarks.processes import arguments, log_as_airflow, tell


class TaskInstance:
    """As much of a task instance as these sensors want."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Forget it."""


def figures(*, peer: str, part: str, index: int, port: int) -> dict[str, Any]:
    from airflow import sdk
    from airflow.sdk.exceptions import TaskDeferred

    del port
    for name in ("BaseOperator", "BaseSensorOperator"):
        getattr(sdk, name)  # imported at first use
    log_as_airflow()
    chosen = PEERS[peer]
    assert chosen.sensor is not None
    assert chosen.event is not None
    context = {"ti": TaskInstance()}
    has_deferred = False

    cpu, wall = time.process_time(), time.perf_counter()
    module = importlib.import_module(chosen.sensor_module)
    imported = time.process_time()
    sensor = chosen.sensor(module, index)
    try:
        if part == "resume":
            sensor.execute_complete(context, chosen.event(index))
        else:
            sensor.execute(context)
    except TaskDeferred:
        has_deferred = True
    end = time.process_time()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": end - cpu,
        "import_cpu": imported - cpu,
        "has_deferred": has_deferred,
    }


if __name__ == "__main__":
    tell(figures(**arguments()))
