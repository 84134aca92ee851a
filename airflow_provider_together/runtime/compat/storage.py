"""
Where a task keeps what must outlive it: its own storage (Airflow 3.3 and later), and Airflow's variables.

Where there is no such storage, the callers get one that forgets, and go on without it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow.sdk import Variable

from airflow_provider_together.runtime.compat.task_state import is_in_task

if TYPE_CHECKING:
    from airflow.sdk import Context


class StateStore(Protocol):
    """A task's own storage: it survives retry, SIGKILL and clear, and only that task reads it."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the JSON value of the key, or the default."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        ...


class _NoStore:
    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 - same signature as the real one
        return default

    def set(self, key: str, value: Any) -> None:
        """Forget it: before 3.3 a task has no storage of its own."""


def state_store(context: Context) -> StateStore:
    """Return the task's storage; before 3.3 one that forgets."""
    store = cast("dict[str, Any]", context).get("task_state_store")
    return _NoStore() if store is None else cast("StateStore", store)


def has_state_store(context: Context) -> bool:
    """Whether the task has a storage that keeps what it is given."""
    return not isinstance(state_store(context), _NoStore)


class Variables(Protocol):
    """The Airflow variables, which all processes of one deployment share."""

    def get(self, key: str) -> str | None:
        """Return a variable; None if there is none."""
        ...

    def set(self, key: str, value: str, *, description: str) -> None:
        """Store a variable, whether it existed or not."""
        ...

    def delete(self, key: str) -> None:
        """Remove a variable, if it exists."""
        ...


class _TaskVariables:
    """Through the API that a task has."""

    def get(self, key: str) -> str | None:
        return cast("str | None", Variable.get(key, default=None))

    def set(self, key: str, value: str, *, description: str) -> None:
        Variable.set(key, value, description=description)

    def delete(self, key: str) -> None:
        Variable.delete(key)


def variables() -> Variables | None:
    """Return Airflow's variables; None where no Airflow runs: neither in a task nor in a command of Airflow's."""
    if is_in_task():
        return _TaskVariables()
    if os.environ.get("_AIRFLOW_PROCESS_CONTEXT") != "server":
        return None
    from airflow_provider_together.runtime.compat.metadata_database import DatabaseVariables  # noqa: PLC0415

    return DatabaseVariables()
