"""Running DAGs on real Airflow in this process, through ``dag.test()``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from airflow.sdk import DAG


@dataclass(frozen=True)
class Run:
    """A finished run of a DAG."""

    state: str
    states: dict[str, str]
    xcoms: dict[str, dict[str, Any]]

    def value(self, task_id: str, key: str = "return_value") -> Any:
        return self.xcoms.get(task_id, {}).get(key)


class SameRun(DAG):
    """A DAG of which there is one run only, whenever it is run: to its tasks each is another try."""

    def test(self, *arguments: Any, **more: Any) -> Any:
        date = datetime(2026, 1, 1, tzinfo=UTC)
        return super().test(*arguments, **{**more, "run_after": date, "logical_date": date})


def run_dag(dag: DAG) -> Run:
    """Run a DAG that a test has just made, in this process, and collect what became of it."""
    serialize(dag)
    dag_run: Any = dag.test()
    instances = dag_run.get_task_instances()
    states = {_name(instance): str(instance.state) for instance in instances}
    return Run(state=str(dag_run.state), states=states, xcoms=_xcoms(dag_run.dag_id, dag_run.run_id))


def _name(row: Any) -> str:
    return str(row.task_id) if row.map_index < 0 else f"{row.task_id}[{row.map_index}]"


def _xcoms(dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    xcoms: dict[str, dict[str, Any]] = {}
    with create_session() as session:
        for row in session.query(XComModel).filter_by(dag_id=dag_id, run_id=run_id):
            xcoms.setdefault(_name(row), {})[row.key] = XComModel.deserialize_value(row)
    return xcoms


def dag_bag(path: Path | None = None) -> Any:
    """Return what Airflow finds in a DAG file."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef,unused-ignore]

    return DagBag(dag_folder=os.devnull if path is None else path)


def serialize(dag: DAG) -> None:
    """Write the DAG to the database, as the dag-processor does with those that it finds in files."""
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # before 3.2
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef,unused-ignore]

    _store_bundles()
    bag = dag_bag()
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


@cache
def _store_bundles() -> None:
    """Write the DAG folders to the database, which stays the same as long as this process."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
