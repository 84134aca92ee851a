"""
Who is measured: this package, and the packages from which others would build the same wait.

They are named by their modules and imported where they are measured, so that one that is not installed is skipped.

- ``http``: what a user writes who has no provider for a service. Its sensor waits for anything but a 404.
- ``databricks``: the nearest kin, a provider that starts a paid cluster for a job and waits for it. Its trigger waits
  for a run; its one deferrable sensor waits for a SQL statement by its id, as ours waits for a cluster by its.
- ``nothing``: a trigger that asks nobody, hence what the event loop and the benchmark cost by themselves.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.server import cluster_id


@dataclass(frozen=True)
class Peer:
    """
    One who waits.

    :param distribution: the package that must be installed.
    :param modules: of its operators, sensors and triggers.
    :param trigger: makes a trigger that waits for a cluster with a poll interval.
    :param sensor_module: module of the deferrable sensor.
    :param sensor: makes that sensor, given its module.
    :param event: the event that tells the sensor that the cluster is READY.
    """

    distribution: str
    modules: list[str]
    trigger: Callable[[int, float], Any]
    sensor_module: str = ""
    sensor: Callable[[Any, int], Any] | None = None
    event: Callable[[int], Any] | None = None

    @property
    def version(self) -> str:
        """The installed version; empty if there is none."""
        if not self.distribution:
            return ""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return ""


class Nothing:
    """A trigger that waits and asks nobody."""

    async def run(self) -> AsyncIterator[None]:
        await asyncio.get_running_loop().create_future()
        yield

    async def cleanup(self) -> None:
        """Have nothing to clean up."""


def _ours(index: int, interval: float) -> Any:
    module = importlib.import_module("airflow_provider_together.triggers.gpu_cluster")
    return module.GPUClusterTrigger(cluster_id(index), "together_default", interval)


def _http(index: int, interval: float) -> Any:
    module = importlib.import_module("airflow.providers.http.triggers.http")
    return module.HttpSensorTrigger(endpoint=f"/ready/{cluster_id(index)}", poke_interval=interval)


def _databricks(index: int, interval: float) -> Any:
    module = importlib.import_module("airflow.providers.databricks.triggers.databricks")
    return module.DatabricksExecutionTrigger(index + 1, "databricks_default", polling_period_seconds=interval)


def _modules(pattern: str) -> list[str]:
    return [pattern.format(kind) for kind in ("operators", "sensors", "triggers")]


PEERS = {
    "ours": Peer(
        "airflow-provider-together",
        _modules("airflow_provider_together.{}.gpu_cluster"),
        _ours,
        "airflow_provider_together.sensors.gpu_cluster",
        lambda module, index: module.ClusterReadySensor(task_id="wait", cluster_id=cluster_id(index), deferrable=True),
        lambda index: {"cluster_id": cluster_id(index), "verdict": "ready", "status": "READY"},
    ),
    "http": Peer(
        "apache-airflow-providers-http",
        _modules("airflow.providers.http.{}.http"),
        _http,
        "airflow.providers.http.sensors.http",
        lambda module, index: module.HttpSensor(
            task_id="wait", endpoint=f"/ready/{cluster_id(index)}", deferrable=True
        ),
        lambda _: True,
    ),
    "databricks": Peer(
        "apache-airflow-providers-databricks",
        _modules("airflow.providers.databricks.{}.databricks"),
        _databricks,
        "airflow.providers.databricks.sensors.databricks",
        lambda module, index: module.DatabricksSQLStatementsSensor(
            task_id="wait", warehouse_id="warehouse", statement_id=cluster_id(index), deferrable=True
        ),
        lambda index: {
            "statement_id": cluster_id(index),
            "state": '{"state": "SUCCEEDED", "error_code": "", "error_message": ""}',
            "error": {},
        },
    ),
    "nothing": Peer("", [], lambda _index, _interval: Nothing()),
}
