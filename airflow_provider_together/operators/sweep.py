"""
The operator that deletes what was forgotten, for a DAG of its own that runs every hour.

What counts as forgotten is in :mod:`airflow_provider_together.lifecycle.orphans`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperatorLink

from airflow_provider_together.operators.base import TogetherOperator
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.parameters import (
    AMOUNT,
    DURATION,
    FLAG,
    Kind,
    optional,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class SweepGPUClustersOperator(TogetherOperator):
    """
    Delete clusters of this Airflow that nobody needs any more, and prove that they are gone.

    A cluster goes if its name was made by this Airflow and its end of life has passed or the DAG run for which it
    was made is over. A cluster with a name of the user's own, or of another Airflow, is never touched; where
    nobody knows the run, the cluster stays until its end of life. The return value says what became of each.

    :param together_conn_id: connection of type ``together``.
    :param delete: whether to delete; otherwise the forgotten ones are only named.
    :param delete_reserved: whether reservations go as well before the time that is paid for is over; an early deletion
        is not refunded.
    :param price_per_gpu_hour: to say in the log what was saved, if known.
    :param poll_interval: seconds between two looks at what was deleted.
    :param timeout: seconds (or a timedelta) until all of it must be gone.
    """

    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        "delete",
        "delete_reserved",
        "price_per_gpu_hour",
        "poll_interval",
        "timeout",
    )
    operator_extra_links: Collection[BaseOperatorLink] = ()  # it is about many clusters
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "delete": FLAG,
        "delete_reserved": FLAG,
        "price_per_gpu_hour": optional(AMOUNT),
        "poll_interval": DURATION,
        "timeout": DURATION,
    }

    def __init__(
        self,
        *,
        delete: bool | str = False,
        delete_reserved: bool | str = False,
        price_per_gpu_hour: float | str | None = None,
        poll_interval: float | str = 10.0,
        timeout: float | timedelta | str = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.delete = delete
        self.delete_reserved = delete_reserved
        self.price_per_gpu_hour = price_per_gpu_hour
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.check_parameters()

    def execute(self, context: Context) -> list[dict[str, str]]:  # noqa: ARG002 - Airflow's signature
        """Sweep, and fail if something forgotten could not be deleted."""
        from airflow_provider_together.operators.sweep_task import sweep  # noqa: PLC0415 - for a task only

        with task_failures():
            self.check_rendered_parameters()
            return sweep(self)
