"""
The block in which a GPU cluster lives: created when the block begins, deleted when it ends, whatever happened.

It adds tasks to those inside and wires them; each is an ordinary one. Why it takes as many:

- ``begin`` is a setup that cannot fail, since Airflow runs no teardown all of whose setups have failed.
- ``create`` is a setup as well, so that clearing a task inside clears it too. ``delete`` is the teardown of both: a
  setup without a teardown would count for everything that ever follows it.
- ``done`` is what comes after the block waits for. It ends as the last tasks inside have ended.
- ``outcome`` tells the run. A teardown that can fail the run hides from it what failed before, and so does a task with
  ``trigger_rule="all_done"``, inside of the block or after it. Nothing comes after ``outcome``, so nothing hides it. It
  is a teardown only because Airflow clears teardowns together with what is inside, and leaves them out when a group
  is wired to what follows; it keeps an ordinary trigger rule.
- ``ready`` is there only if a task that would directly follow ``create`` has another trigger rule than
  ``all_success``, which Airflow refuses behind a setup.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TaskGroup, TriggerRule

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor

if TYPE_CHECKING:
    from typing import Self

    from airflow.sdk import BaseOperator, XComArg

#: What was not given, so that ``default_args`` decide.
_NOT_GIVEN: Any = object()
#: Parameters of Airflow's task group; everything else that the block is given describes the cluster.
_TASK_GROUP_ARGS = frozenset(
    {
        "add_suffix_on_collision",
        "dag",
        "default_args",
        "doc_md",
        "group_display_name",
        "parent_group",
        "prefix_group_id",
        "tooltip",
        "ui_color",
        "ui_fgcolor",
    }
)
#: Trigger rules with which a task never runs behind a failed one, so that the failure reaches the last task.
_RULES_THAT_PASS_FAILURES_ON = frozenset(
    {TriggerRule.ALL_SUCCESS, TriggerRule.NONE_FAILED, TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS}
)
#: Of ``delete``, unless ``default_args`` say otherwise: Airflow's own default would give up with its first worker.
_DELETE_RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30)}
#: Of tasks that must not wait for an earlier run, whatever ``default_args`` say.
_WHATEVER_WAS_BEFORE: dict[str, Any] = {"depends_on_past": False, "wait_for_downstream": False}


class GPUClusterTaskGroup(TaskGroup):
    """
    A GPU cluster for the tasks inside.

    .. code-block:: python

        with GPUClusterTaskGroup("h100", region="us-central-8", gpu_type="H100_SXM", num_gpus=16, ...) as cluster:
            train = GPUClusterJobOperator(task_id="train", cluster_id=cluster.cluster_id, ...)

    ``create`` makes the cluster and waits until it is READY; what is inside follows; ``delete`` deletes it when all
    inside has ended, also when ``create`` has failed or was marked, and needs no XCom for it. What comes after the
    block depends on ``done``. The run fails if any task inside has failed, whatever follows.

    What is not given here comes from ``default_args``, as for every task.

    :param group_id: id of the block, and prefix of the ids of its tasks.
    :param cluster: id of a cluster that lives already: it is waited for, and left alive in the end.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether all waiting is done in the triggerer; by default it is.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) to wait for READY at the most.
    :param delete_reserved: whether a ``RESERVED`` or ``SCHEDULED_CAPACITY`` cluster is deleted, too, before its paid
        time is over.
    :param delete_volumes: whether volumes that are attached to the cluster go with it, with all data on them.
    :param trigger_rule: of the first task of the block: when it begins, by what comes before it.
    :param options: the other parameters of Airflow's ``TaskGroup``, and those of
        :class:`~airflow_provider_together.operators.gpu_cluster.CreateGPUClusterOperator`.
    :raises SpecError: if a parameter is wrong.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        group_id: str,
        *,
        cluster: str | XComArg = _NOT_GIVEN,
        together_conn_id: str = _NOT_GIVEN,
        deferrable: bool = _NOT_GIVEN,
        poll_interval: float = _NOT_GIVEN,
        timeout: float | timedelta = _NOT_GIVEN,
        delete_reserved: bool = _NOT_GIVEN,
        delete_volumes: bool = _NOT_GIVEN,
        trigger_rule: str = _NOT_GIVEN,
        **options: Any,
    ) -> None:
        of_group = {name: options.pop(name) for name in _TASK_GROUP_ARGS & options.keys()}
        if cluster is not _NOT_GIVEN:
            if cluster is None or (isinstance(cluster, str) and not cluster.strip()):
                raise SpecError([f"cluster={cluster!r} is no id: give the id of a live cluster, or leave it out"])
            not_ours = {**options, **_given(delete_reserved=delete_reserved, delete_volumes=delete_volumes)}
            if not_ours:
                fault = f"cluster={cluster!r} lives already, so that {', '.join(sorted(not_ours))} cannot be chosen"
                raise SpecError([f"{fault}: leave out either"])
        if "wait_for_completion" in options:
            given = options["wait_for_completion"]
            raise SpecError([f"wait_for_completion={given!r} is wrong: a block always waits: leave it out"])
        super().__init__(group_id=group_id, **of_group)
        self._adopted = cluster
        self._common = _given(together_conn_id=together_conn_id, deferrable=deferrable)
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._reserved = _given(delete_reserved=delete_reserved)
        self._delete_volumes = delete_volumes
        self._beginning = _given(trigger_rule=trigger_rule)
        self._options = options
        self._opening: list[BaseOperator] = []
        self._is_closed = False

    @property
    def cluster_id(self) -> Any:
        """
        The id of the cluster, for the tasks inside: text that is known when they run.

        :raises RuntimeError: outside of the block, whose delete does not wait for what is there.
        """
        if self._adopted is not _NOT_GIVEN:
            return self._adopted
        if not self._opening or self._is_closed:
            message = f"the cluster of {self.group_id!r} is there inside of its block: with GPUClusterTaskGroup(...)"
            raise RuntimeError(message)
        return self._opening[-1].output

    def __enter__(self) -> Self:
        """Open the block with the tasks that come before those inside."""
        super().__enter__()
        try:
            self._open()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)  # which Python calls only after a whole __enter__
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the block: wire what is inside to what comes before and after."""
        try:
            if error is None:
                self._close()
        finally:
            self._is_closed = True
            super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def _open(self) -> None:
        if self._adopted is not _NOT_GIVEN:
            self._opening = [self._wait_until_ready()]
            return
        begin, create = EmptyOperator(task_id="begin", **self._beginning), self._create()
        begin >> create
        self._opening = [begin, create]

    def _close(self) -> None:
        inside = [task for task in self if task not in self._opening]
        ids = {task.task_id for task in inside}
        first = [task for task in inside if task.upstream_task_ids.isdisjoint(ids)]
        if self._adopted is not _NOT_GIVEN:
            self._opening[-1] >> first
            return
        begin, create = self._opening
        _follow_setup(create, first, inside)
        last = [task for task in inside if task.downstream_task_ids.isdisjoint(ids)] or [create]
        self._add_done(inside or [create])
        last >> self._delete(create.task_id).as_teardown(setups=[begin, create], on_failure_fail_dagrun=True)
        outcome = EmptyOperator(task_id="outcome", **_WHATEVER_WAS_BEFORE)
        outcome.as_teardown(setups=[begin, create], on_failure_fail_dagrun=True)
        outcome.trigger_rule = TriggerRule.NONE_FAILED
        inside >> outcome
        if any(task.depends_on_past for task in inside):
            # What is inside would wait for its past on a cluster that is paid for. All that the previous run had to
            # do directly follows begin: its delete, and its outcome.
            begin.depends_on_past = begin.wait_for_downstream = True

    def _add_done(self, inside: list[BaseOperator]) -> None:
        """Add the task that what comes after the block waits for."""
        flow = [task for task in inside if not task.is_teardown]
        if all(task.trigger_rule in _RULES_THAT_PASS_FAILURES_ON for task in flow):
            awaited, rule = list(self.get_leaves()), TriggerRule.ALL_SUCCESS
        else:  # the last tasks may not have heard of a failure
            awaited, rule = flow, TriggerRule.NONE_FAILED
        awaited >> EmptyOperator(task_id="done", trigger_rule=rule, **_WHATEVER_WAS_BEFORE)

    def _create(self) -> CreateGPUClusterOperator:
        create = CreateGPUClusterOperator(
            task_id="create",
            trigger_rule=TriggerRule.ALL_SUCCESS,  # a setup can have no other
            wait_for_completion=True,
            **self._waiting(),
            **self._reserved,
            **_given(poll_interval=self._poll_interval, timeout=self._timeout),
            **self._options,
        )
        create.as_setup()  # type: ignore[no-untyped-call]
        return create

    def _delete(self, create_task_id: str) -> DeleteGPUClusterOperator:
        retries = {name: value for name, value in _DELETE_RETRIES.items() if name not in self._defaults}
        return DeleteGPUClusterOperator(
            task_id="delete",
            create_task_id=create_task_id,
            **_WHATEVER_WAS_BEFORE,  # a cluster that is not needed any more waits for nothing
            **retries,
            **self._waiting(),
            **self._reserved,
            **_given(poll_interval=self._poll_interval, delete_volumes=self._delete_volumes),
        )

    def _wait_until_ready(self) -> ClusterReadySensor:
        poll_interval = self._poll_interval
        if poll_interval is _NOT_GIVEN and "poke_interval" not in self._defaults:
            poll_interval = self._defaults.get("poll_interval", _NOT_GIVEN)
        return ClusterReadySensor(
            task_id="wait_until_ready",
            cluster_id=self._adopted,
            **self._waiting(),
            **_given(poke_interval=poll_interval, timeout=self._timeout),
            **self._beginning,
        )

    def _waiting(self) -> dict[str, Any]:
        """Return what all tasks of the block have in common."""
        deferrable = {} if "deferrable" in self._defaults else {"deferrable": True}
        return {**deferrable, **self._common}

    @property
    def _defaults(self) -> dict[str, Any]:
        """The ``default_args`` of the tasks inside; a group's hold those of the groups around it."""
        return {**(self.dag.default_args or {}), **self.default_args}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not _NOT_GIVEN}


def _follow_setup(setup: BaseOperator, first: list[BaseOperator], inside: Iterable[BaseOperator]) -> None:
    """Let tasks follow a setup: directly where Airflow allows that, behind an empty task where it does not."""
    following = [*first, *(task for task in inside if setup.task_id in task.upstream_task_ids and task not in first)]
    refused = [task for task in following if task.trigger_rule != TriggerRule.ALL_SUCCESS and not task.is_teardown]
    setup >> [task for task in first if task not in refused]
    if not refused:
        return
    for task in refused:  # one that takes the id of the cluster depends on its setup directly
        setup.downstream_task_ids.discard(task.task_id)
        task.upstream_task_ids.discard(setup.task_id)
    setup >> EmptyOperator(task_id="ready", trigger_rule=TriggerRule.ALL_SUCCESS) >> refused
