"""
The block in which a GPU cluster lives: made when the block begins, given back when it ends, whatever happened.

It adds four tasks to those inside and wires them; each is one of ours that does nothing else here than elsewhere. Why
it takes four: Airflow runs no teardown whose setup has failed, so that the teardown hangs on a setup that cannot fail;
and a teardown that can fail the run hides from it what failed before, so that a leaf beside it tells.
"""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TaskGroup

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor

if TYPE_CHECKING:
    from typing import Self

    from airflow.sdk import BaseOperator, XComArg

#: What is a matter of the block itself; everything else that it is given is a matter of the cluster.
_OF_GROUP = frozenset(
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


class GPUClusterTaskGroup(TaskGroup):
    """
    A GPU cluster for the tasks inside.

    .. code-block:: python

        with GPUClusterTaskGroup("h100", region="us-central-8", gpu_type="H100_SXM", num_gpus=16, ...) as cluster:
            train = GPUClusterJobOperator(task_id="train", cluster_id=cluster.cluster_id, ...)

    ``create`` makes the cluster and waits until it is READY; what is inside follows; ``delete`` gives it back when
    all inside has ended, also when ``create`` has failed or was marked, and needs no XCom for it. ``done`` is what
    comes after the block depends on: it fails with what is inside.

    :param group_id: id of the block, and prefix of the ids of its tasks.
    :param cluster: id of a cluster that lives already: it is waited for, and left alive in the end.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether all waiting is done in the triggerer.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) to wait for READY at the most.
    :param delete_volumes: whether volumes that are attached to the cluster go with it, with all data on them.
    :param options: the other parameters of Airflow's ``TaskGroup``, and those of
        :class:`~airflow_provider_together.operators.gpu_cluster.CreateGPUClusterOperator`.
    :raises SpecError: if a parameter is wrong.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        group_id: str,
        *,
        cluster: str | XComArg | None = None,
        together_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = True,
        poll_interval: float = 15.0,
        timeout: float | timedelta = timedelta(hours=2),
        delete_volumes: bool = False,
        **options: Any,
    ) -> None:
        of_group = {name: options.pop(name) for name in _OF_GROUP & options.keys()}
        if cluster is not None and options:
            fault = f"cluster={cluster!r} lives already, so that {', '.join(sorted(options))} cannot be chosen any more"
            raise SpecError([f"{fault}: leave out either"])
        super().__init__(group_id=group_id, **of_group)
        self._adopted = cluster
        self._conn_id = together_conn_id
        self._waiting: dict[str, Any] = {"deferrable": deferrable, "timeout": timeout}
        self._poll_interval = poll_interval
        self._delete_volumes = delete_volumes
        self._options = options
        self._opening: list[BaseOperator] = []

    @property
    def cluster_id(self) -> Any:
        """
        The id of the cluster, for the tasks inside: text that is known when they run.

        :raises RuntimeError: outside of the block.
        """
        if self._adopted is not None:
            return self._adopted
        if not self._opening:
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
            super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def _open(self) -> None:
        if self._adopted is not None:
            self._opening = [self._wait_until_ready(self._adopted)]
            return
        begin, create = EmptyOperator(task_id="begin"), self._create()
        # A setup as well, so that clearing a task inside makes a cluster for it; but delete does not depend on it.
        begin >> create.as_setup()  # type: ignore[no-untyped-call]
        self._opening = [begin, create]

    def _close(self) -> None:
        *begin, ready = self._opening
        inside = [task for task in self if task not in self._opening]
        ids = {task.task_id for task in inside}
        ready >> [task for task in inside if task.upstream_task_ids.isdisjoint(ids)]
        if self._adopted is not None:
            return
        ends = [task for task in inside if task.downstream_task_ids.isdisjoint(ids)] or [ready]
        # A failed teardown of a block inside would be hidden by the one of this block, as a failed task would.
        telling = [*self.get_leaves(), *(task for task in ends if task.is_teardown and task.on_failure_fail_dagrun)]
        delete = DeleteGPUClusterOperator(
            task_id="delete",
            made_by=ready.task_id,
            together_conn_id=self._conn_id,
            deferrable=self._waiting["deferrable"],
            poll_interval=self._poll_interval,
            delete_volumes=self._delete_volumes,
        )
        ends >> delete.as_teardown(setups=begin, on_failure_fail_dagrun=True)
        telling >> EmptyOperator(task_id="done")

    def _create(self) -> CreateGPUClusterOperator:
        return CreateGPUClusterOperator(
            task_id="create",
            together_conn_id=self._conn_id,
            wait_for_completion=True,
            poll_interval=self._poll_interval,
            **self._waiting,
            **self._options,
        )

    def _wait_until_ready(self, cluster_id: str | XComArg) -> ClusterReadySensor:
        return ClusterReadySensor(
            task_id="wait_until_ready",
            cluster_id=cluster_id,
            together_conn_id=self._conn_id,
            poke_interval=self._poll_interval,
            **self._waiting,
        )
