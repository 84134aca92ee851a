"""What tests of a GPU cluster's Kubernetes have in common, apart from fixtures: a worker's process imports it, too."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from airflow.sdk import DAG, BaseOperator

from tests.support.dag_runs import Run, run_dag

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import TaskDeferred  # type: ignore[no-redef,attr-defined,unused-ignore]

__all__ = ["ENDLESS", "VOLUME", "Killed", "TaskDeferred", "meanwhile", "python", "run_task", "wait_until"]

#: The name of the volume that is attached to each cluster.
VOLUME = "data"
_PATIENCE_SECONDS = 60.0
_LOOK_INTERVAL = 0.05

#: Goes on until its pod is taken away.
ENDLESS = "import time\nprint('working', flush=True)\ntime.sleep(600)"


def python(code: str) -> list[str]:
    """Return a command that runs some Python."""
    return [sys.executable, "-c", code]


def run_task(operator_class: type[BaseOperator], **parameters: Any) -> Run:
    """Run one task in a DAG of its own."""
    with DAG("one_task", schedule=None) as dag:
        operator_class(**{"task_id": "train", **parameters})
    return run_dag(dag)


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait until something is so, for a limited time."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(_LOOK_INTERVAL)


@contextlib.contextmanager
def meanwhile(is_time: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as its time has come, beside what the block does."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_INTERVAL):
            if is_time():
                act()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Killed(BaseOperator):
    """
    Runs a task and kills it as Airflow's signal handler does, as soon as the time has come.

    :param before: what happens just before, and nobody else's request comes between.
    :param after: what is looked at just after, before the task goes on.
    """

    def __init__(
        self,
        *,
        inner: Any,
        when: Callable[[], object],
        before: Callable[[], object] = bool,
        after: Callable[[], object] = bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inner = inner
        self.when = when
        self.before = before
        self.after = after

    def execute(self, context: Any) -> None:
        def handle(*_: object) -> None:
            self.before()
            self.inner.on_kill()
            self.after()

        before = signal.signal(signal.SIGALRM, handle)
        try:
            with meanwhile(self.when, lambda: os.kill(os.getpid(), signal.SIGALRM)):
                self.inner.execute(context)
        finally:
            signal.signal(signal.SIGALRM, before)
