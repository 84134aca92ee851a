"""
The executor of the throw-away Airflow: LocalExecutor, without one fault of it.

A task that defers ends its process, and runs again when its trigger has fired. The scheduler fails it if the end of the
first process is reported only after the second was queued ("finished with state success, but ..."), which happens on a
busy machine. LocalExecutor of Airflow 3.3 does not count what it runs, so it cannot tell the two apart; this one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from airflow.executors.local_executor import LocalExecutor


class CountingLocalExecutor(LocalExecutor):
    """LocalExecutor that keeps the report of a process to itself while a later one runs the same try of a task."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._sent: Counter[Any] = Counter()

    def _process_workloads(self, workload_list: Sequence[Any]) -> None:
        self._sent.update(_key(workload) for workload in workload_list)
        super()._process_workloads(workload_list)  # type: ignore[no-untyped-call]

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:  # noqa: FBT002 - Airflow's signature
        """Tell the scheduler how a workload has ended, unless it was sent again meanwhile."""
        self._sent[key] -= 1
        if self._sent[key] > 0:
            self.log.info("A process of %s ended with %s; the next one was sent already.", key, state)
            return
        del self._sent[key]
        super().change_state(key, state, info, remove_running)


def _key(workload: Any) -> Any:
    return workload.key if hasattr(workload, "key") else workload.ti.key  # before 3.2
