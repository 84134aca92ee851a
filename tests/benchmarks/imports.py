"""Measured process: what an import adds to a process that has airflow.sdk, as every parse of a DAG file has."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from tests.benchmarks.processes import arguments, tell


def figures(*, modules: list[str], port: int) -> dict[str, Any]:
    from airflow import sdk

    del port
    for name in ("BaseOperator", "BaseSensorOperator"):
        getattr(sdk, name)  # imported at first use
    before, cpu, wall = set(sys.modules), time.process_time(), time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "modules": len(set(sys.modules) - before)}


if __name__ == "__main__":
    tell(figures(**arguments()))
