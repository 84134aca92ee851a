"""
What the running tasks of all operators do with the engine: a flow that ends when the task is killed, a clean-up.

The other half of :mod:`airflow_provider_together.operators.base`: DAG files import that, and only a task imports this.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_together.api.call import Alert, Ask, Call, Flow, Note, Save
from airflow_provider_together.api.client import Client, answered
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.lifecycle.delete import delete_and_prove
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.runtime.registry import registry
from airflow_provider_together.waiting.busy import send_while_busy
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow_provider_together.operators.base import TogetherOperator

T = TypeVar("T")

#: Seconds that a clean-up of a failed task may take.
CLEAN_UP_SECONDS = 300.0
#: Seconds between two looks at it, at the most.
CLEAN_UP_POLL_INTERVAL = 5.0
#: Seconds of a request made inside a signal handler: Airflow kills for good 5 s after the signal.
_KILL_TIMEOUT = 2.0


class RunningTask:
    """
    What an operator does while its task runs.

    :param operator: its parameters are rendered.
    """

    def __init__(self, operator: TogetherOperator) -> None:
        self._operator = operator

    def run_flow(self, flow: Flow[T]) -> T:
        """
        Run a flow that ends early if the task is killed.

        :raises TaskKilledError: if it is.
        """

        def take(told: Note) -> None:
            with self._operator.asking_airflow(is_asking=True):
                self._log_note(told)
            self._operator.raise_if_killed()

        def answer(question: Ask[Any]) -> Any:
            with self._operator.asking_airflow(is_asking=True):
                answer = answered(question, self._log_note)
            if isinstance(question, Save):  # after a mere question there may be something to save
                self._operator.raise_if_killed()
            return answer

        with self._operator.asking_airflow(is_asking=False):
            return self._operator.hook.client.run(flow, note=take, ask=answer, sleep=self._operator.sleep)

    def forget_owner(self, cluster_name: str) -> list[str]:
        """
        Remove the registry's entry of a name whose cluster is gone, unless its owner has another one.

        The sweep finds that other one by the same entry. A name that is not ours has none.

        :returns: the names in Together's list that have no id, each of which may be such another one.
        """
        name = ClusterName.parse(cluster_name)
        if name is None:
            return []
        try:
            clusters = self._operator.hook.list_gpu_clusters()
        except TogetherError as error:
            self._operator.log.info("%s The entry of its owner stays until the next sweep.", error)
            return []
        hidden = [other for other in clusters.unreadable if name.has_owner_of(other)]
        living = [cluster for cluster in clusters if cluster.phase.has_to_be_deleted]
        if not hidden and not any(name.has_owner_of(cluster.cluster_name) for cluster in living):
            registry().forget(name)
        return hidden

    def send_while_busy(self, call: Call[T], *, timeout: float, billed: str, poll_interval: float = 10.0) -> T:
        """
        Send a request until Together carries it out; a cluster or a volume may be in transition.

        :param timeout: seconds that it may take.
        :param billed: a sentence that says what is billed as long as it is not carried out.
        """
        return self.run_flow(send_while_busy(call, timeout=timeout, poll_interval=poll_interval, billed=billed))

    def clean_up(self, cluster_id: str, *, cluster_name: str = "", poll_interval: float) -> str:
        """
        Delete a cluster after a failure; return a sentence on the outcome.

        :param poll_interval: seconds between two looks at the most.
        """
        now = self._operator.hook.client.now()
        pause = min(poll_interval, CLEAN_UP_POLL_INTERVAL)
        wait = GoneWait(cluster_id, started=now, deadline=now + CLEAN_UP_SECONDS, poll_interval=pause)
        look = self.run_flow(delete_and_prove(self._operator.hook.client.dialect, wait))
        if look.verdict is Verdict.GONE:
            self.forget_owner(cluster_name)
            return "It was deleted."
        why = f"{look.verdict.value}, {look.word or 'no status'}"
        return f"DELETING IT FAILED ({why}): it is still billed, delete it by hand. {look.error}".strip()

    def delete_now(self, cluster_id: str) -> None:
        """
        Ask for a cluster's deletion from inside a signal handler.

        A client of its own, since the handler may have interrupted the other one in the middle of a request.
        """
        settings = replace(self._operator.hook.settings, timeout=_KILL_TIMEOUT, retries=1)
        with Client(settings) as client:
            client.send(client.dialect.delete_cluster(cluster_id))

    def _log_note(self, note: Note) -> None:
        self._operator.log.log(logging.WARNING if isinstance(note, Alert) else logging.INFO, "%s", note.message)
