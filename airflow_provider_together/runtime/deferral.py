"""
Handing a wait over to the triggerer, and reading what comes back.

Operators and sensors import this instead of the trigger itself: the trigger brings Airflow's base of triggers, which
costs a DAG that never defers as much as all its operators.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from airflow_provider_together.runtime.events import read_event, text
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

    from airflow_provider_together.exceptions import TogetherError
    from airflow_provider_together.waiting.gone import GoneWait
    from airflow_provider_together.waiting.ready import ReadyWait


#: How much longer Airflow's own deferral timeout is than the deadline in the trigger, in seconds. It is the
#: second net, for a triggerer that is not there to fire.
DEFERRAL_MARGIN = 120.0


def defer(
    operator: BaseOperator, wait: ReadyWait | GoneWait, together_conn_id: str, *, delete_on_kill: bool = False
) -> NoReturn:
    """
    Go on with a wait in the triggerer; the operator's ``execute_complete`` follows it.

    :param wait: its settings are what the trigger's row holds.
    :param delete_on_kill: whether the trigger deletes the cluster when a user ends the task.
    """
    from airflow_provider_together.triggers.gpu_cluster import GPUClusterTrigger  # noqa: PLC0415 - see above

    trigger = GPUClusterTrigger(together_conn_id=together_conn_id, delete_on_kill=delete_on_kill, **wait.settings())
    seconds = None if wait.deadline is None else wait.deadline - wait.started + DEFERRAL_MARGIN
    timeout = None if seconds is None else timedelta(seconds=seconds)
    operator.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)


def effective_timeout(operator: BaseOperator, timeout_seconds: float, started: float) -> float:
    """
    Return the seconds that a deferred wait may take: Airflow does not enforce ``execution_timeout`` meanwhile.

    :param timeout_seconds: the operator's own timeout.
    :param started: when the task began, in epoch seconds.
    """
    if operator.execution_timeout is None:
        return timeout_seconds
    left = started + operator.execution_timeout.total_seconds() - time.time()
    return min(timeout_seconds, max(left, 0.0))


class Outcome(NamedTuple):
    """
    How a wait in the triggerer has ended.

    :param status: the raw word of Together that the verdict rests on.
    :param error: what Together answered last instead of doing what was asked for; empty if it did.
    """

    cluster_id: str
    verdict: Verdict
    status: str
    error: str = ""

    def failure(self, *, fate: str = "") -> TogetherError:
        """Return the error for a wait that did not end well; ``fate`` is a sentence on the fate of the cluster."""
        from airflow_provider_together.waiting.failure import failure_of  # noqa: PLC0415 - for a task only

        return failure_of(self.cluster_id, self.verdict, self.status, fate=fate, error=self.error)


def look_of(event: Any, *, cluster_id: str | None = None) -> Outcome:
    """
    Read the event of a trigger that waited for a cluster.

    :param cluster_id: the cluster that the task waits for, if it knows.
    :raises ValueError: if it is no event of ours, or of another cluster.
    """
    fields = {"cluster_id": text, "verdict": Verdict, "status": text, "error": text}
    return Outcome(**read_event(event, fields, defaults={"error": ""}, cluster_id=cluster_id))
