"""
The operator that deletes GPU clusters and proves that they are gone.

Kept apart from those that make them, since it must work without anything that they have left behind: it needs
an id or a name, and no XCom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.operators.base import TogetherOperator
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.parameters import DURATION, FLAG, IDENTIFIER, Kind, optional

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.operators.deletion_task import DeletionTask

#: Seconds between two looks.
DEFAULT_POLL_INTERVAL = 10.0
#: What a deletion may take.
DEFAULT_TIMEOUT = timedelta(minutes=30)


class DeleteGPUClusterOperator(TogetherOperator):
    """
    Delete a GPU cluster and wait until neither Get nor List shows it any more.

    Deleting one that is gone already is a success. A ``cluster_name`` of your own that does not exist
    is an error, since it may be misspelt while the real one goes on costing money.

    :param cluster_id: id of the cluster.
    :param cluster_name: instead of it, its name, for where no id is known.
    :param create_task_id: instead of both, the id of the task of this DAG that makes clusters. What it has made in
        this run is deleted, also if it has failed and returned no id; nothing is a success. Where both are mapped,
        that is what its instance of this map index has made, else what all of them have.
    :param delete_adopted: whether to delete also a cluster of somebody else's that a create of this DAG run has
        adopted with ``if_exists="adopt"``; otherwise that one is left alive.
    :param delete_reserved: whether a teardown, or ``create_task_id``, deletes also a ``RESERVED`` or
        ``SCHEDULED_CAPACITY`` cluster whose paid time is not over, which is not refunded; otherwise that one is left
        alive. A task of its own that names the cluster by id or name deletes it.
    :param delete_volumes: whether to delete the volumes that are attached to it, too, with all data on them.
    :param together_conn_id: connection of type ``together``.
    :param deferrable: whether to wait in the triggerer; by default as ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between two looks.
    :param timeout: seconds (or a timedelta) that it may take.
    """

    adds_costs = False
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "cluster_id": optional(IDENTIFIER),
        "cluster_name": optional(IDENTIFIER),
        "create_task_id": optional(IDENTIFIER),
        "delete_adopted": FLAG,
        "delete_reserved": FLAG,
        "delete_volumes": FLAG,
        "deferrable": optional(FLAG),
        "poll_interval": DURATION,
        "timeout": DURATION,
    }
    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "cluster_id",
        "cluster_name",
        "create_task_id",
        "delete_adopted",
        "delete_reserved",
        "delete_volumes",
        "deferrable",
        "poll_interval",
        "timeout",
    )

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        cluster_id: str | XComArg | None = None,
        cluster_name: str | None = None,
        create_task_id: str | None = None,
        delete_adopted: bool | str = False,
        delete_reserved: bool | str = False,
        delete_volumes: bool | str = False,
        deferrable: bool | str | None = None,
        poll_interval: float | str = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta | str = DEFAULT_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_id = cast("str | None", cluster_id)
        self.cluster_name = cluster_name
        self.create_task_id = create_task_id
        self.delete_adopted = delete_adopted
        self.delete_reserved = delete_reserved
        self.delete_volumes = delete_volumes
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.check_parameters()

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """See :meth:`~airflow_provider_together.runtime.parameters.CheckedParameters.conflicts`."""
        targets = [name for name in ("cluster_id", "cluster_name", "create_task_id") if name in given]
        if not targets:
            return ["cluster_id, cluster_name and create_task_id are all missing: give one of them"]
        return [] if len(targets) == 1 else [f"{' and '.join(targets)} exclude each other: give one of them"]

    @property
    def takes_id_of_a_task(self) -> bool:
        """Whether the id is what another task of the run has returned, so that nobody has written it by hand."""
        return hasattr(self._as_written.get("cluster_id"), "iter_references")

    def execute(self, context: Context) -> None:
        """
        Delete, and wait for the proof.

        A setting that a template has rendered to nonsense keeps no cluster alive: the default takes its place, and the
        task fails once the cluster is gone.
        """
        with task_failures():
            self._begin(context).delete()

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Go on after the triggerer has waited."""
        with task_failures():
            self._begin(context).complete(event)

    def _begin(self, context: Context) -> DeletionTask:
        """Make what the running task does; only here is it imported, since DAG files import this module."""
        from airflow_provider_together.operators.deletion_task import DeletionTask  # noqa: PLC0415 - for a task only

        return DeletionTask(self, context)
