"""
``together-airflow demo``: a whole job on a throw-away Airflow, on the emulator or, after asking, for real.

It puts the parts together and sees to it that they are taken apart again, however it ends: by itself, by
Ctrl-C or by a signal.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO

import httpx

from airflow_provider_together.api.known_dialects import DEFAULT_DIALECT
from airflow_provider_together.demo.airflow_api import AirflowAPIError
from airflow_provider_together.demo.airflow_stack import AirflowStack, StackError
from airflow_provider_together.demo.clusters import Clusters, EmulatedClusters, LiveClusters
from airflow_provider_together.demo.emulated import EmulatorError, running_emulator
from airflow_provider_together.demo.environment import connection_variable
from airflow_provider_together.demo.live import RefusedError, agreed_settings, connection_json
from airflow_provider_together.demo.plan import PlanError
from airflow_provider_together.demo.report import left_line
from airflow_provider_together.demo.screen import Screen
from airflow_provider_together.demo.show import Show
from airflow_provider_together.exceptions import TogetherError

DEFAULT_CONNECTION = "together_default"
#: Simulated seconds per second: ten minutes of provisioning take a quarter of one.
DEFAULT_SPEED = 40.0
DEFAULT_DAG = "train_on_gpu_cluster"
#: The task of that DAG that has to be seen in the triggerer.
_WAITING_TASK = "h100.create"

_DONE, _FAILED, _REFUSED, _INTERRUPTED = 0, 1, 2, 130
#: Seconds for an emulated run.
_LONGEST_RUN = 600.0
#: Seconds for the components to end: for real, a request that is under way should come to its end.
_GRACE, _LIVE_GRACE = 3.0, 20.0


def run_demo(  # noqa: PLR0913 - each is an option of the command
    *,
    live: bool = False,
    conn_id: str = DEFAULT_CONNECTION,
    speed: float = DEFAULT_SPEED,
    price_per_gpu_hour: float | None = None,
    api: str = DEFAULT_DIALECT,
    dag_file: Path | None = None,
    keep: bool = False,
    stream: TextIO = sys.stdout,
    ask: Callable[[str], str] | None = None,
) -> int:
    """
    Run a DAG on a throw-away Airflow, and show it.

    :param live: whether to rent real GPUs, after asking; else the emulator plays Together.
    :param conn_id: the connection that the DAG uses; with ``live`` it must exist.
    :param speed: simulated seconds per second, of the emulator.
    :param price_per_gpu_hour: what a GPU costs for an hour, to be shown; None to say nothing about money.
    :param api: which of Together's APIs to emulate.
    :param dag_file: a DAG file of yours, with one DAG; by default the example ``train_on_gpu_cluster``.
    :param keep: whether the throw-away Airflow's folder, with its logs, is left on the disk.
    :param stream: where to print.
    :param ask: shows a prompt and returns the line that was typed; by default the terminal is asked, and where
        there is none the answer is no.
    :returns: exit status: 0 everything happened, 1 something did not, 2 refused and nothing spent,
        130 interrupted.
    :raises TogetherError: with ``live``, if there is no usable connection or Together cannot be reached.
    """
    demo = _Demo(Screen(stream), dag_file or example_dag(), conn_id, price_per_gpu_hour, keep=keep)
    if not demo.dag_file.is_file():
        demo.screen.line(f"dag_file={str(demo.dag_file)!r} is wrong: there is no such file")
        return _REFUSED
    try:
        with _signals_as_interrupt():
            is_success = demo.live(ask=ask) if live else demo.emulated(speed=speed, api=api)
    except (RefusedError, PlanError) as refusal:
        demo.screen.line(str(refusal))
        return _REFUSED
    except (StackError, EmulatorError, AirflowAPIError, httpx.TransportError) as error:
        demo.screen.line(f"The demo failed: {error}")
        return _FAILED
    except KeyboardInterrupt:
        demo.screen.line("Interrupted.")
        return _INTERRUPTED
    return _DONE if is_success else _FAILED


def example_dag() -> Path:
    """Return the canonical DAG: of the installed package, or of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "example_dags"
    folder = installed if installed.is_dir() else package.parent / "dags_examples"
    return folder / f"{DEFAULT_DAG}.py"


@dataclass(frozen=True)
class _Demo:
    """The options that both modes share, and what both do."""

    screen: Screen
    dag_file: Path
    conn_id: str
    price: float | None
    keep: bool

    def emulated(self, *, speed: float, api: str) -> bool:
        # A DAG of somebody's own may not need it, and then runs where there is none.
        kubernetes = sys.platform == "linux" or self.dag_file == example_dag()
        with running_emulator(speed=speed, kubernetes=kubernetes) as emulator:
            self.screen.line(f"The emulator plays Together ({api} API) at {emulator.url}, {speed:g} times as fast.")
            clusters = EmulatedClusters(emulator.url)
            return self._play(clusters, emulator.connection(api=api), grace=_GRACE, timeout=_LONGEST_RUN)

    def live(self, *, ask: Callable[[str], str] | None) -> bool:
        settings = agreed_settings(
            self.dag_file, self.conn_id, say=self.screen.line, ask=ask, price_per_gpu_hour=self.price
        )
        with closing(LiveClusters(settings)) as clusters:
            return self._play(clusters, connection_json(settings), grace=_LIVE_GRACE, timeout=None)

    def _play(self, clusters: Clusters, connection: str, *, grace: float, timeout: float | None) -> bool:
        is_success = False
        try:
            with self._stack(connection, grace=grace) as stack:
                dag_id = _only_dag(stack)
                show = Show(stack, clusters, self.screen, price_per_gpu_hour=self.price)
                must_defer = _WAITING_TASK if dag_id == DEFAULT_DAG else None
                is_success = show.play(dag_id, must_defer=must_defer, timeout=timeout)
        finally:
            # Only now does no task run any more that could make another cluster.
            is_clean = self._clean_up(clusters, is_success=is_success)
        return is_success and is_clean

    @contextmanager
    def _stack(self, connection: str, *, grace: float) -> Iterator[AirflowStack]:
        begun = time.monotonic()
        self.screen.line("Starting a throw-away Airflow: api-server, scheduler, dag-processor, triggerer ...")
        variables = {connection_variable(conn_id): connection for conn_id in (DEFAULT_CONNECTION, self.conn_id)}
        stack = AirflowStack(environment=variables, grace=grace, keep=self.keep)
        if self.keep:
            self.screen.line(f"Its folder is {stack.home}.")
        try:
            stack.dags.link(self.dag_file)
            with stack:
                self.screen.line(f"Airflow is up after {time.monotonic() - begun:.0f} s, at {stack.api.base_url}")
                try:
                    yield stack
                except KeyboardInterrupt:
                    self.screen.line("Stopping Airflow first, so that no task makes another cluster ...")
                    raise
        finally:
            stack.stop()

    def _clean_up(self, clusters: Clusters, *, is_success: bool) -> bool:
        """Give back what a run has left that did not end well, and say what is alive; whether nothing is."""
        try:
            rows = clusters.look(fresh=True) if is_success else clusters.give_back(self.screen.line)
        except (TogetherError, httpx.HTTPError) as error:
            self.screen.line(f"Nobody knows whether a cluster is left: {error}")
            self.screen.line("Look with `together-airflow clusters list`.")
            return False
        except KeyboardInterrupt:
            self.screen.line(f"Not everything was given back. At the last look: {left_line(clusters.known())}")
            raise
        self.screen.line(left_line(rows))
        return not any(row.is_alive for row in rows)


def _only_dag(stack: AirflowStack) -> str:
    dag_id = stack.wait_for_dag()
    if len(dag_ids := stack.api.dag_ids()) > 1:
        message = f"the file has several DAGs ({', '.join(sorted(dag_ids))}): give one with a single DAG"
        raise StackError(message)
    return dag_id


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Let a polite signal, or a terminal that is closed, end the demo as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        raise KeyboardInterrupt

    try:
        before = {signum: signal.signal(signum, interrupt) for signum in (signal.SIGTERM, signal.SIGHUP)}
    except ValueError:  # not in the main thread, which alone may do so
        yield
        return
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
