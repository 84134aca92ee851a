"""
What a task of :class:`~airflow_provider_together.operators.sweep.SweepGPUClustersOperator` does while it runs.

The operator's other half: DAG files import the operator, and only a task that runs imports this, with the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_together.lifecycle.orphans import Fate
from airflow_provider_together.runtime.compat.versions import AirflowException
from airflow_provider_together.runtime.parameters import amount, seconds_of, truth_of
from airflow_provider_together.runtime.registry import registry
from airflow_provider_together.runtime.sweeping import report, sweep_clusters

if TYPE_CHECKING:
    from airflow_provider_together.operators.sweep import SweepGPUClustersOperator


def sweep(operator: SweepGPUClustersOperator) -> list[dict[str, str]]:
    """
    Sweep, and return the outcome for each cluster.

    :param operator: its parameters are rendered and checked.
    :raises AirflowException: if something forgotten could not be deleted.
    """
    findings = sweep_clusters(
        operator.hook,
        registry(),
        delete=truth_of("delete", operator.delete),
        delete_reserved=truth_of("delete_reserved", operator.delete_reserved),
        timeout=seconds_of("timeout", operator.timeout),
        poll_interval=seconds_of("poll_interval", operator.poll_interval),
        say=lambda sentence: operator.log.info("%s", sentence),
        sleep=operator.sleep,
    )
    price = operator.price_per_gpu_hour
    price = None if price is None else amount("price_per_gpu_hour", price)
    for line in report(findings, now=operator.hook.client.now(), price=price):
        operator.log.info("%s", line)
    if stuck := [finding.cluster.cluster_id for finding in findings if finding.fate is Fate.STUCK]:
        message = f"forgotten clusters are still billed: {', '.join(stuck)}; the log says why"
        raise AirflowException(message)
    return [
        {
            "cluster_id": finding.cluster.cluster_id,
            "cluster_name": finding.cluster.cluster_name,
            "fate": finding.fate.value,
            "why": finding.why,
        }
        for finding in findings
    ]
