"""
A worker in a process of its own, which may be killed: ``python -m tests.real_kubernetes.worker KIND SCRIPT``.

Its run has the same date, and so the same id, whenever it is started: to the operator it is the same task.
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any, cast

from airflow.sdk import DAG

from tests.dag_runs import run_dag
from tests.real_kubernetes.tasks import Kind, make_task

_DATE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _SameRun(DAG):
    def test(self, *arguments: Any, **more: Any) -> Any:
        return super().test(*arguments, **{**more, "run_after": _DATE, "logical_date": _DATE})


def main() -> None:
    kind, script = sys.argv[1:]
    with _SameRun("real_kubernetes_worker", schedule=None) as dag:
        make_task(cast("Kind", kind), script)
    run = run_dag(dag)
    print(run)  # noqa: T201 - into the log of the process
    sys.exit(run.state != "success")


if __name__ == "__main__":
    main()
