"""
The distributed Airflow of the full kill matrix: CeleryExecutor on PostgreSQL, with Redis as broker.

Separate, because the short pick of rows runs on another Airflow. Its times are short, so that what was killed is
missed in seconds; nothing else differs from a production. It knows no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from airflow_provider_together.demo.airflow_stack import AirflowStack
from tests.e2e.services import postgresql, redis

WORKER = "worker"
#: Takes the tasks of its own queue only, so that those that shall die with it are on it.
DOOMED_WORKER = "worker-doomed"
DOOMED_QUEUE = "doomed"
SECOND_TRIGGERER = "triggerer-2"

#: Seconds without a sign of life after which a task, a triggerer or a scheduler counts as dead.
TASK_DEATH = 20
COMPONENT_DEATH = 10

_SETTINGS: Mapping[str, object] = MappingProxyType(
    {
        "API__MAXIMUM_PAGE_LIMIT": 1000,
        # All DAGs are there before the first run.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 600,
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 5,
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": COMPONENT_DEATH,
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": TASK_DEATH,
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": COMPONENT_DEATH,
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 2,
    }
)


@contextmanager
def distributed_stack() -> Iterator[AirflowStack]:
    """Run scheduler, api-server, DAG processor, two triggerers and two workers."""
    with postgresql() as database, redis() as broker:
        environment = {f"AIRFLOW__{name}": str(value) for name, value in _SETTINGS.items()}
        environment["AIRFLOW__CELERY__BROKER_URL"] = broker
        environment["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+{database}"
        with AirflowStack(
            environment=environment,
            executor="CeleryExecutor",
            sql_alchemy_conn=database,
            parallelism=32,
            extra_components={
                WORKER: _worker(WORKER, queue="default", concurrency=16),
                DOOMED_WORKER: _worker(DOOMED_WORKER, queue=DOOMED_QUEUE, concurrency=12),
                SECOND_TRIGGERER: ("triggerer", "--skip-serve-logs"),
            },
            ready_texts={WORKER: " ready.", DOOMED_WORKER: " ready.", SECOND_TRIGGERER: "Starting the triggerer"},
        ) as stack:
            yield stack


def _worker(name: str, *, queue: str, concurrency: int) -> tuple[str, ...]:
    """Return the arguments of a worker that has name and pid file of its own, since all are on one machine."""
    options = ("--celery-hostname", f"{name}@localhost", "--queues", queue, "--concurrency", str(concurrency))
    return ("celery", "worker", "--skip-serve-logs", "--without-mingle", "--pid", f"{name}.pid", *options)
