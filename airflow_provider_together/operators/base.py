"""
What all operators of this package share: the hook, checking of parameters, being killed.

Airflow kills a running task by a signal whose handler calls ``on_kill`` and then lets ``execute`` go on. So a
wait sleeps in short pieces and raises once it was killed.

DAGs are parsed again and again, tasks run once. So what only a running task needs, the engine above all, stands in
modules called ``*_task``, each imported in one place; the specs, which check literal parameters, are imported here.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.links.gpu_cluster import GPUClusterLink, console_url
from airflow_provider_together.runtime.compat.versions import AirflowException
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.mapping import CheckedOperator
from airflow_provider_together.runtime.parameters import IDENTIFIER, Kind

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.api.specs import Spec
    from airflow_provider_together.operators.base_task import RunningTask

T = TypeVar("T")

#: Seconds between two looks at the kill flag while a task sleeps.
_NAP = 0.5
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

    @cached_property
    def running(self) -> RunningTask:
        """What the running task does; only here is it imported, since DAG files import this module."""
        from airflow_provider_together.operators.base_task import RunningTask  # noqa: PLC0415 - for a task only

        return RunningTask(self)

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
    def asking_airflow(self, *, is_asking: bool) -> Iterator[None]:
        """Say whether Airflow is asked something here, so that a signal's handler must not ask as well."""
        before, self._is_asking_airflow = self._is_asking_airflow, is_asking
        try:
            yield
        finally:
            self._is_asking_airflow = before
