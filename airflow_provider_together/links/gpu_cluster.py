"""The button that leads from a task to its cluster in Together's console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

#: The page of Together's console that its documentation links to. A page of one cluster is not documented, so
#: the id only stands behind the hash, where it can do no harm.
CONSOLE_URL = "https://api.together.ai/clusters"


def console_url(cluster_id: str) -> str:
    """Return the address of a cluster in Together's console."""
    return f"{CONSOLE_URL}#{cluster_id}"


class GPUClusterLink(BaseOperatorLink):
    """Leads to the cluster that a task has made, waits for or deletes."""

    name = "Together console"

    @property
    def xcom_key(self) -> str:
        """Key of the XCom that the UI reads; operators push it as soon as they know the cluster."""
        return "console_url"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Return what the task pushed, or the list of clusters while it knows none."""
        from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415 - only a finished task needs it

        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or CONSOLE_URL
