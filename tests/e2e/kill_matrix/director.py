"""
Playing rows on one Airflow, side by side, and noting what was observed.

Separate from rows and scenes: it alone knows that there are many. One loop takes a picture of Airflow, lets each script
go on whose wait is over, and strikes a group when all its rows are at their stage. Nothing here knows what is expected.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Self

from airflow_provider_together.demo.airflow_stack import AirflowStack, StackError
from airflow_provider_together.emulator import Emulator
from tests.e2e.kill_matrix.observer import Observer
from tests.e2e.kill_matrix.row import Row, Script, Until
from tests.e2e.kill_matrix.scene import Scene
from tests.e2e.kill_matrix.sweeping import sweep

#: Seconds that one wait of a script may take, and may go on when the run is over.
_PATIENCE = 150.0
_PATIENCE_WITH_THE_DEAD = 15.0
_LOOK_INTERVAL = 0.5
_DAG_SECONDS = 90.0

_DAG_FILE = """\
import datetime

from airflow.sdk import DAG
from tests.e2e.kill_matrix.shapes import Shape, build

build({
SHAPES})
"""

#: What a strike does to Airflow: it yields what it waits for, as a script does.
Strike = Callable[[Sequence[Scene]], Script]


@dataclass(frozen=True)
class Group:
    """
    Rows that one strike at a component hits.

    :param strike: is done once all rows wait for it; None for rows that do all by themselves.
    """

    rows: Sequence[Row]
    strike: Strike | None = None


@dataclass(frozen=True)
class Observed:
    """
    What a row came to.

    :param settled: clusters alive when Airflow had settled.
    :param swept: clusters alive after one sweep.
    :param made: clusters ever made.
    :param run: the state of the run.
    :param story: for messages.
    :param trouble: why the script could not be played to its end; empty if it was.
    """

    settled: int
    swept: int
    made: int
    run: str | None
    story: str
    trouble: str = ""


class Director:
    """
    Context manager: the emulators, the DAGs and the connections of some rows on an Airflow.

    :param stack: the Airflow.
    :param rows: all rows that will be played.
    :param name: of the DAG file.
    """

    def __init__(self, stack: AirflowStack, rows: Sequence[Row], *, name: str) -> None:
        self.stack = stack
        self._rows = rows
        self._name = name
        self._observer = Observer(stack)
        self._clouds: dict[str, Emulator] = {}
        self._plays: dict[str, _Play] = {}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            for row in self._rows:
                if row.conn_id not in self._clouds:
                    cloud = exits.enter_context(_cloud())
                    self._clouds[row.conn_id] = cloud
                    self._connect(row, cloud)
            self._write_dags()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def play(self, *groups: Group) -> None:
        """Play groups of rows, all at the same time, until Airflow has settled on each of them."""
        playing = [_Troupe(group, [self._play(row) for row in group.rows]) for group in groups]
        while any(troupe.is_busy for troupe in playing):
            self.stack.check()
            self._observer.refresh()
            for troupe in playing:
                troupe.advance()
            time.sleep(_LOOK_INTERVAL)

    def observed(self) -> dict[str, Observed]:
        """Sweep once, and return by row what was observed."""
        settled = {key: len(play.scene.alive()) for key, play in self._plays.items()}
        for cloud in self._clouds.values():
            cloud.clear_faults()
        said = sweep(self.stack, {conn_id: self._connection(conn_id) for conn_id in self._clouds})
        return {key: _observe(play, settled[key], said[play.scene.row.conn_id]) for key, play in self._plays.items()}

    def _play(self, row: Row) -> _Play:
        scene = Scene(row, stack=self.stack, observer=self._observer, cloud=self._clouds[row.conn_id])
        self._plays[row.key] = _Play(scene)
        return self._plays[row.key]

    def _connection(self, conn_id: str) -> str:
        extra = next(row.extra for row in self._rows if row.conn_id == conn_id)
        return self._clouds[conn_id].connection(**{"api": "tcloud", "visibility": 3, **extra})

    def _connect(self, row: Row, cloud: Emulator) -> None:
        fields = json.loads(self._connection(row.conn_id))
        host, password, extra = cloud.url, fields["password"], json.dumps(fields["extra"])
        self.stack.api.create_connection(row.conn_id, "together", host=host, password=password, extra=extra)

    def _write_dags(self) -> None:
        # A shape's text is the Python that makes it, so that Airflow's processes need no row.
        shapes = "".join(f"    {row.key!r}: ({row.shape!r}, {row.conn_id!r}),\n" for row in self._rows)
        self.stack.dags.write(f"{self._name}.py", _DAG_FILE.replace("SHAPES", shapes))
        wanted = {row.key for row in self._rows}

        def are_read() -> bool:
            if errors := self.stack.api.import_errors():
                message = "the DAGs of the kill matrix cannot be imported:\n" + "\n".join(errors)
                raise StackError(message)
            return wanted <= {dag["dag_id"] for dag in self.stack.api.get("/dags", limit=100)["dags"]}

        self.stack.wait_for(are_read, what="the DAGs of the kill matrix read", timeout=_DAG_SECONDS)


@contextmanager
def _cloud() -> Iterator[Emulator]:
    """Run an emulator in which nothing gets READY by itself, and a deletion takes a second."""
    with Emulator(speed=1.0, delete_takes=1.0, api_key="sk-kill-matrix") as cloud:
        yield cloud


@dataclass
class _Play:
    """A script on its way."""

    scene: Scene
    trouble: str = ""
    is_over: bool = False
    _is_settling: bool = False
    _script: Script | None = None
    _waits_for: Until | None = None
    _since: float = field(default_factory=time.monotonic)

    @property
    def waits_for_strike(self) -> bool:
        return self._waits_for is not None and self._waits_for.what == "the strike"

    def advance(self) -> None:
        """Go on as far as possible."""
        try:
            if self.scene.row.gets_ready and not self.is_over:
                self.scene.make_new_ready()
            while not self.is_over and (self._waits_for is None or self._waits_for.is_true()):
                self._next()
        except Exception as error:  # noqa: BLE001 - one row's trouble is no other row's
            self.give_up(f"{type(error).__name__}: {error}")
        if self._waits_for is not None and not self._is_patient:
            self.give_up(f"waited in vain for: {self._waits_for.what}")

    @property
    def _is_patient(self) -> bool:
        may_last = self._is_settling or (self._waits_for is not None and self._waits_for.outlasts_run)
        is_dead = self.scene.run_state == "failed" and not may_last
        patience = _PATIENCE_WITH_THE_DEAD if is_dead else _PATIENCE
        return self.waits_for_strike or time.monotonic() - self._since < patience

    def _next(self) -> None:
        if self._script is None:
            self._script = self._whole_script()
        self._waits_for = next(self._script, None)
        self._since = time.monotonic()
        self.is_over = self._waits_for is None

    def _whole_script(self) -> Script:
        if self.scene.row.before is not None:
            self.scene.row.before(self.scene)
        self.scene.start()
        yield from self.scene.row.script(self.scene)
        self._is_settling = True
        yield from self.scene.until_settled()

    def give_up(self, trouble: str) -> None:
        """End the script early."""
        self.trouble, self.is_over, self._waits_for = trouble, True, None
        if self._script is not None:
            self._script.close()


class _Troupe:
    """The plays of a group."""

    def __init__(self, group: Group, plays: list[_Play]) -> None:
        self._plays = plays
        self._strike = group.strike
        self._striking: Script | None = None
        self._waits_for: Until | None = None
        self._since = time.monotonic()

    @property
    def is_busy(self) -> bool:
        return not all(play.is_over for play in self._plays)

    def advance(self) -> None:
        for play in self._plays:
            play.advance()
        if self._strike is not None and all(play.is_over or play.waits_for_strike for play in self._plays):
            self._go_on_striking(self._strike)

    def _go_on_striking(self, strike: Strike) -> None:
        waiting = [play for play in self._plays if not play.is_over]
        if self._striking is None and waiting:
            self._striking = strike([play.scene for play in waiting])
        while self._striking is not None and (self._waits_for is None or self._waits_for.is_true()):
            self._waits_for, self._since = next(self._striking, None), time.monotonic()
            if self._waits_for is None:
                self._strike = self._striking = None
                for play in waiting:
                    play.scene.is_struck = True
        if self._striking is not None and self._waits_for is not None and time.monotonic() - self._since > _PATIENCE:
            self._striking.close()
            for play in waiting:
                play.give_up(f"the strike waited in vain for: {self._waits_for.what}")


def _observe(play: _Play, settled: int, said: str) -> Observed:
    scene = play.scene
    return Observed(
        settled=settled,
        swept=len(scene.alive()),
        made=len(scene.clusters()),
        run=scene.run_state,
        story="\n".join([scene.story(), *_about(scene, said)]),
        trouble=play.trouble,
    )


def _about(scene: Scene, said: str) -> Iterator[str]:
    """Return what the sweep has said about the clusters of a row."""
    ids = [cluster.cluster_id for cluster in scene.clusters()]
    return (line for line in said.splitlines() if line.startswith("status") or any(each in line for each in ids))
