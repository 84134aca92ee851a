"""
A worker in a process of its own, which may be killed: ``python -m tests.provider.kubernetes.worker KIND PARAMETERS``.

Its run has the same date, and so the same id, whenever it is started: to the operator it is the same task.
"""

from __future__ import annotations

import json
import sys

from airflow_provider_together.operators import kubernetes
from tests.support.dag_runs import SameRun, run_dag


def main() -> None:
    kind, parameters = sys.argv[1], json.loads(sys.argv[2])
    with SameRun("kubernetes_worker", schedule=None) as dag:
        getattr(kubernetes, kind)(task_id="train", **parameters)
    run = run_dag(dag)
    print(run)  # noqa: T201 - into the log of the process
    sys.exit(run.state != "success")


if __name__ == "__main__":
    main()
