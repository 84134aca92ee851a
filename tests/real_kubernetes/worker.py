"""
A worker in a process of its own, which may be killed: ``python -m tests.real_kubernetes.worker KIND SCRIPT``.

Its run has the same date, and so the same id, whenever it is started: to the operator it is the same task.
"""

from __future__ import annotations

import sys
from typing import cast

from tests.real_kubernetes.tasks import Kind, make_task
from tests.support.dag_runs import SameRun, run_dag


def main() -> None:
    kind, script = sys.argv[1:]
    with SameRun("real_kubernetes_worker", schedule=None) as dag:
        make_task(cast("Kind", kind), script)
    run = run_dag(dag)
    print(run)  # noqa: T201 - into the log of the process
    sys.exit(run.state != "success")


if __name__ == "__main__":
    main()
