"""
What all operators of this package share: the hook, checking of parameters, being killed.

Airflow kills a running task by a signal whose handler calls ``on_kill`` and then lets ``execute`` go on. So a
wait sleeps in short pieces and raises once it was killed.

DAGs are parsed again and again, tasks run once. So the modules of operators and sensors import the engine in the
methods that only a task calls, all but the specs, which check literal parameters.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.links.gpu_cluster import GPUClusterLink, console_url
from airflow_provider_together.runtime.compat.versions import AirflowException
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.mapping import CheckedOperator
from airflow_provider_together.runtime.parameters import IDENTIFIER, Kind
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.api.call import Ask, Call, Flow, Note
    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.api.specs import Spec

T = TypeVar("T")

#: Seconds between two looks at the kill flag while a task sleeps.
_NAP = 0.5
#: Seconds that a clean-up of a failed task may take.
CLEAN_UP_SECONDS = 300.0
#: Seconds between two looks at it, at the most.
CLEAN_UP_POLL_INTERVAL = 5.0
#: Seconds of a request made inside a signal handler: Airflow kills for good 5 s after the signal.
_KILL_TIMEOUT = 2.0
#: XCom key under which a create tells that its cluster is a reservation, so that no teardown deletes it early.
RESERVATION_KEY = "reservation"
#: XCom key under which a create tells that its cluster is somebody else's, so that no clean-up touches it.
ADOPTED_KEY = "adopted_cluster_id"


class TaskKilledError(AirflowException):
    """Airflow has asked this task to end."""


class TogetherOperator(CheckedOperator, BaseOperator):
    """
    Base of the operators.

    :param together_conn_id: connection of type ``together``.
    """

    template_fields: Sequence[str] = ("together_conn_id",)
    operator_extra_links: Collection[BaseOperatorLink] = (GPUClusterLink(),)
    ui_color = "#e8f0fe"

    parameter_kinds: ClassVar[Mapping[str, Kind]] = {"together_conn_id": IDENTIFIER}
    #: The spec whose fields are parameters of the operator.
    spec_class: ClassVar[type[Spec] | None] = None
    #: Whether the operator makes clusters, and may have adopted one instead.
    makes_clusters: ClassVar[bool] = False
    #: Whether it can make Together bill for more than is rented already.
    adds_costs: ClassVar[bool] = True

    def __init__(self, *, together_conn_id: str = DEFAULT_CONNECTION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.together_conn_id = together_conn_id
        self._was_killed = False
        #: Whether a signal would strike while Airflow is asked something, so that its handler must not ask as well.
        self._is_asking_airflow = False

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of this task's connection."""
        return TogetherHook(self.together_conn_id)

    def run_flow(self, flow: Flow[T]) -> T:
        """
        Run a flow that ends early if the task is killed.

        :raises TaskKilledError: if it is.
        """
        from airflow_provider_together.api.call import Save  # noqa: PLC0415 - for a task only
        from airflow_provider_together.api.client import answered  # noqa: PLC0415 - for a task only

        def take(told: Note) -> None:
            with self._asking_airflow(is_asking=True):
                self._log_note(told)
            self.raise_if_killed()

        def answer(question: Ask[Any]) -> Any:
            with self._asking_airflow(is_asking=True):
                answer = answered(question, self._log_note)
            if isinstance(question, Save):  # after a mere question there may be something to save
                self.raise_if_killed()
            return answer

        with self._asking_airflow(is_asking=False):
            return self.hook.client.run(flow, note=take, ask=answer, sleep=self.sleep)

    def parameters(self) -> dict[str, Any]:
        """Return the fields of the spec, as they were rendered."""
        return {name: getattr(self, name) for name in self.spec_class.model_fields} if self.spec_class else {}

    def publish(self, context: Context, cluster: Cluster) -> None:
        """Push what other tasks and the UI want to know of a cluster, before anything else can fail."""
        ti = context["ti"]
        ti.xcom_push(key="cluster_id", value=cluster.cluster_id)
        ti.xcom_push(key="cluster_name", value=cluster.cluster_name)
        ti.xcom_push(key="region", value=cluster.region)
        self.publish_link(context, cluster.cluster_id)

    def publish_link(self, context: Context, cluster_id: str) -> None:
        """Push the address behind the button of the UI."""
        context["ti"].xcom_push(key=GPUClusterLink().xcom_key, value=console_url(cluster_id))

    def forget_owner(self, cluster_name: str) -> list[str]:
        """
        Remove the registry's entry of a name whose cluster is gone, unless its owner has another one.

        The sweep finds that other one by the same entry. A name that is not ours has none.

        :returns: the names in Together's list that have no id, each of which may be such another one.
        """
        from airflow_provider_together.lifecycle.name import ClusterName  # noqa: PLC0415 - for a task only
        from airflow_provider_together.runtime.registry import registry  # noqa: PLC0415 - for a task only

        name = ClusterName.parse(cluster_name)
        if name is None:
            return []
        try:
            clusters = self.hook.list_gpu_clusters()
        except TogetherError as error:
            self.log.info("%s The entry of its owner stays until the next sweep.", error)
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
        from airflow_provider_together.waiting.busy import send_while_busy  # noqa: PLC0415 - for a task only

        return self.run_flow(send_while_busy(call, timeout=timeout, poll_interval=poll_interval, billed=billed))

    def clean_up(self, cluster_id: str, *, cluster_name: str = "", poll_interval: float) -> str:
        """
        Delete a cluster after a failure; return a sentence that says what became of it.

        :param poll_interval: seconds between two looks at the most.
        """
        from airflow_provider_together.lifecycle.delete import delete_and_prove  # noqa: PLC0415 - for a task only
        from airflow_provider_together.waiting.gone import GoneWait  # noqa: PLC0415 - for a task only

        now = self.hook.client.now()
        pause = min(poll_interval, CLEAN_UP_POLL_INTERVAL)
        wait = GoneWait(cluster_id, started=now, deadline=now + CLEAN_UP_SECONDS, poll_interval=pause)
        look = self.run_flow(delete_and_prove(self.hook.client.dialect, wait))
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
        from airflow_provider_together.api.client import Client  # noqa: PLC0415 - for a task only

        settings = replace(self.hook.settings, timeout=_KILL_TIMEOUT, retries=1)
        with Client(settings) as client:
            client.send(client.dialect.delete_cluster(cluster_id))

    def on_kill(self) -> None:
        """Let the wait that was interrupted by the signal end."""
        self._was_killed = True

    def raise_if_killed(self) -> None:
        """
        Stop here if the task was killed meanwhile.

        :raises TaskKilledError: if it was.
        """
        if self._was_killed:
            message = f"task {self.task_id} was killed"
            raise TaskKilledError(message)

    def sleep(self, seconds: float) -> None:
        """
        Let time pass.

        :raises TaskKilledError: as soon as the task is killed.
        """
        end = time.monotonic() + seconds
        self.raise_if_killed()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(_NAP, left))
            self.raise_if_killed()

    @contextmanager
    def _asking_airflow(self, *, is_asking: bool) -> Iterator[None]:
        before, self._is_asking_airflow = self._is_asking_airflow, is_asking
        try:
            yield
        finally:
            self._is_asking_airflow = before

    def _log_note(self, note: Note) -> None:
        from airflow_provider_together.api.call import Alert  # noqa: PLC0415 - for a task only

        self.log.log(logging.WARNING if isinstance(note, Alert) else logging.INFO, "%s", note.message)
