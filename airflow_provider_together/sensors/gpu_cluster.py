"""
The sensor that waits until a cluster is READY, so that training tasks can run after it.

One poke is one look of :mod:`airflow_provider_together.waiting`, which alone decides what it means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.sdk import BaseOperatorLink, BaseSensorOperator

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.links.gpu_cluster import GPUClusterLink, console_url
from airflow_provider_together.runtime.compat.storage import state_store
from airflow_provider_together.runtime.compat.versions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.deferral import Outcome, defer, look_of
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.mapping import CheckedOperator
from airflow_provider_together.runtime.parameters import (
    DURATION,
    FLAG,
    IDENTIFIER,
    Kind,
    check_values,
    default_deferrable,
    one_of,
    optional,
)
from airflow_provider_together.waiting.verdict import REACTIONS, Reaction, Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.api.call import Note
    from airflow_provider_together.waiting.ready import ReadyWait

#: Key under which the last look is remembered between pokes that run in different processes.
_MEMORY = "together_wait"


class ClusterReadySensor(CheckedOperator, BaseSensorOperator):
    """
    Wait until a GPU cluster is READY. The id is the return value.

    A cluster that failed, is being deleted or is gone ends the wait at once, without retries, since waiting
    again cannot help. A server that fails, a lost connection or a list that lags never does. ``timeout``,
    ``soft_fail``, ``poke_interval`` and ``mode`` are those of every sensor.

    :param cluster_id: id of the cluster, mostly the output of
        :class:`~airflow_provider_together.operators.gpu_cluster.CreateGPUClusterOperator`.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param on_degraded: ``wait``, ``ready`` or ``fail`` while some nodes are unhealthy.
    :param on_paused: ``wait``, ``ready`` or ``fail`` while Together has paused the cluster.
    :param poke_interval: seconds between two looks.
    """

    template_fields: Sequence[str] = ("cluster_id", "together_conn_id", "on_degraded", "on_paused")
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": IDENTIFIER,
        "together_conn_id": IDENTIFIER,
        "deferrable": optional(FLAG),
        "on_degraded": one_of(*REACTIONS),
        "on_paused": one_of(*REACTIONS),
        "poke_interval": DURATION,
    }
    operator_extra_links: Collection[BaseOperatorLink] = (GPUClusterLink(),)
    ui_color = "#e8f0fe"

    def __init__(  # noqa: PLR0913 - each is a parameter of its own
        self,
        *,
        cluster_id: str | XComArg,
        together_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool | None = None,
        on_degraded: Reaction = "wait",
        on_paused: Reaction = "fail",
        poke_interval: float | timedelta = 15.0,
        **kwargs: Any,
    ) -> None:
        # Before Airflow makes a number of it.
        check_values(self.all_parameter_kinds(), {"poke_interval": poke_interval})
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.cluster_id = cast("str", cluster_id)
        self.together_conn_id = together_conn_id
        self.deferrable = default_deferrable(deferrable)
        self.on_degraded = on_degraded
        self.on_paused = on_paused
        self._wait: ReadyWait | None = None
        self.check_parameters()

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of this task's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> Any:
        """Wait in the worker, or look once and leave the rest to the triggerer."""
        with task_failures():
            self.check_rendered_parameters()
        context["ti"].xcom_push(key=GPUClusterLink().xcom_key, value=console_url(self.cluster_id))
        if not self.deferrable:
            super().execute(context)
            return self.cluster_id
        if not self._first_look(context):
            self._defer()
        return self.cluster_id

    def poke(self, context: Context) -> bool:
        """Look once."""
        from airflow_provider_together.waiting.look import look_once  # noqa: PLC0415 - for a task only

        store = state_store(context)
        with task_failures():
            client = self.hook.client
            if self._wait is None:
                self._wait = self._new_wait()  # in the worker the sensor's own timeout ends it
                self._wait.recall(store.get(_MEMORY, {}))
            look = client.run(look_once(client.dialect, self._wait), note=self._log_note)
        if self.reschedule:
            store.set(_MEMORY, self._wait.memory())
        return self._is_ready(Outcome(self.cluster_id, look.verdict, look.word, look.error))

    def execute_complete(self, context: Context, event: Any = None) -> str:  # noqa: ARG002 - Airflow's signature
        """Go on after the triggerer has waited."""
        outcome = look_of(event, cluster_id=self.cluster_id)
        self._is_ready(outcome)
        return outcome.cluster_id

    def _first_look(self, context: Context) -> bool:
        """Look before deferring; a cluster that is lost already skips the task where a sensor must not fail."""
        try:
            return self.poke(context)
        except AirflowException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from None
            raise

    def _log_note(self, note: Note) -> None:
        self.log.info("%s", note.message)

    def _is_ready(self, outcome: Outcome) -> bool:
        if outcome.verdict is Verdict.READY:
            return True
        if outcome.verdict is Verdict.GO_ON:
            return False
        error = outcome.failure()
        if outcome.verdict is Verdict.TIMED_OUT:
            raise AirflowSensorTimeout(str(error)) from None
        raise AirflowFailException(str(error)) from None

    def _defer(self) -> None:
        wait = self._new_wait()
        wait.deadline = wait.started + self.timeout
        defer(self, wait, self.together_conn_id)

    def _new_wait(self) -> ReadyWait:
        from airflow_provider_together.waiting.ready import ReadyWait  # noqa: PLC0415 - for a task only

        return ReadyWait(
            self.cluster_id,
            started=self.hook.client.now(),
            poll_interval=self.poke_interval,
            on_degraded=self.on_degraded,
            on_paused=self.on_paused,
        )
