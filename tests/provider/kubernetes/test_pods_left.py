"""With ``reattach_on_restart=False`` a try removes the pods that earlier tries of its task have left, and no others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.operators.kubernetes import GPUClusterPodOperator
from tests.provider.kubernetes.support import ENDLESS, TaskDeferred, python, run_task
from tests.support.dag_runs import Run, run_dag

pytestmark = [
    pytest.mark.usefixtures("database"),
    # Newer parents call the parameter ``durable``, and take this name as well.
    pytest.mark.filterwarnings("ignore:.reattach_on_restart. is deprecated"),
]

SHORT: dict[str, Any] = {
    "image": "any",
    "poll_interval": 0.2,
    "reattach_on_restart": False,
    "deferrable": True,
    "termination_grace_period": 1,
}


class Cleared(GPUClusterPodOperator):
    """Stands for a task that is cleared in its first try, once it is deferred: nobody waits for its pod any more."""

    def execute(self, context: Any) -> Any:
        try:
            return super().execute(context)
        except TaskDeferred:
            if context["ti"].try_number > 1:
                raise
            message = "it was cleared"
            raise RuntimeError(message) from None


def run_cleared(cluster_id: str, **parameters: Any) -> Run:
    """Run a task of two tries, the first of which leaves its pod."""
    code = "import sys, time\ntime.sleep(600 * (sys.argv[1] == '1'))"
    retried = {"retries": 1, "retry_delay": dt.timedelta(0), "cmds": [*python(code), "{{ ti.try_number }}"]}
    return run_task(Cleared, **{**SHORT, "cluster_id": cluster_id, **retried, **parameters})


def pod_requests(kubernetes: KubernetesHandle) -> list[str]:
    """Return how pods were made and deleted."""
    changes = [request for request in kubernetes.requests if request.method in {"POST", "DELETE"}]
    return [request.method for request in changes if "/pods" in request.path]


def test_a_try_that_does_not_reattach_removes_the_pod_of_one_that_was_cleared_before_it_makes_its_own(
    cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
) -> None:
    # The labels that a user gives differ from try to try; the pod is found by the task.
    assert run_cleared(cluster_id, labels={"try": "{{ ti.try_number }}"}).state == "success"
    assert "which an earlier try has left, is deleted" in output()
    assert pod_requests(kubernetes)[:3] == ["POST", "DELETE", "POST"]
    assert kubernetes.pods() == []


def test_a_pod_that_shall_outlive_its_task_is_left_alone(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    assert run_cleared(cluster_id, on_kill_action="keep_pod").state == "success"
    assert [pod.phase for pod in kubernetes.pods()] == ["Running"]


def test_pods_of_other_tasks_are_left_alone(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    with DAG("cleared", schedule=None) as dag:
        for name in ("one", "two"):
            Cleared(task_id=name, cluster_id=cluster_id, cmds=python(ENDLESS), num_gpus=1, **SHORT)
    assert run_dag(dag).state == "failed"
    assert [pod.phase for pod in kubernetes.pods()] == ["Running", "Running"]
