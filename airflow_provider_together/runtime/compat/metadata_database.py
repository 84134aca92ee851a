"""
Airflow's metadata database, read as Airflow's own commands read it.

Apart from the modules beside it, since it brings Airflow's models, which neither a DAG file nor a task needs.
"""

from __future__ import annotations

from typing import Any, cast

from airflow.models.dagrun import DagRun
from airflow.models.variable import Variable
from airflow.utils.session import create_session
from sqlalchemy import select


class DatabaseVariables:
    """The Airflow variables; see :class:`~airflow_provider_together.runtime.compat.storage.Variables`."""

    def get(self, key: str) -> str | None:
        """Return a variable; None if there is none."""
        return cast("str | None", Variable.get(key, default_var=None))

    def set(self, key: str, value: str, *, description: str) -> None:
        """Store a variable, whether it existed or not."""
        Variable.set(key, value, description=description)

    def delete(self, key: str) -> None:
        """Remove a variable, if it exists."""
        Variable.delete(key)


def stored_run_state(dag_id: str, run_id: str) -> Any:
    """Return the state of a DAG run, as some version of Airflow spells it; None if there is no such run."""
    with create_session() as session:
        return session.scalar(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
