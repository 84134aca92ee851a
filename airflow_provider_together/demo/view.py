"""
What people see while a run goes on: a line for each change, decided without printing anything.

Separate from the screen, so that it can be tested as a function of what was looked at, and so that the verdict
at the end rests on what was really seen. It imports the values that it shows, and neither clocks nor
clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_together.api.wording import counted
from airflow_provider_together.demo.airflow_api import TaskInstance

_NAME_WIDTH = 18
_WORD_WIDTH = 27
#: States of a run that has ended.
OVER = frozenset({"success", "failed"})
#: States of a task that tell a person nothing.
_SILENT = frozenset({"none", "scheduled"})


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """
    A cluster, as whoever watches it sees it.

    :param status: Together's word, or GONE.
    :param gpu_hours: billed so far, as far as known.
    :param is_alive: whether it still costs money.
    """

    cluster_id: str
    cluster_name: str
    status: str
    num_gpus: int
    gpu_type: str
    region: str
    gpu_hours: float
    is_alive: bool

    @property
    def label(self) -> str:
        """Its size, kind and place."""
        return f"{self.num_gpus} x {self.gpu_type}  {self.region}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    One look at everything.

    :param elapsed: seconds since the run was started.
    :param now: of the machine's clock, to which the times of the tasks belong.
    :param run_state: ``queued``, ``running``, ``success`` or ``failed``.
    """

    elapsed: float
    now: datetime
    run_state: str
    tasks: Sequence[TaskInstance]
    clusters: Sequence[ClusterRow]

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.run_state in OVER

    def steps(self) -> list[TaskInstance]:
        """Return the tasks in the order in which they have begun."""
        return sorted(self.tasks, key=lambda task: (task.started is None, task.started or self.now))


@dataclass(slots=True)
class Progress:
    """
    Everything that was seen, so far.

    :param states: of each task, in the order in which they appeared.
    :param words: status words of each cluster, likewise.
    """

    states: dict[str, list[str]] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    _lines: dict[str, str] = field(default_factory=dict)

    def on_snapshot(self, snapshot: Snapshot) -> list[str]:
        """Take a look in, and return a line for each thing that is not as it was."""
        shown = []
        for task in snapshot.steps():
            _append(self.states.setdefault(task.task_id, []), task.state)
            if task.state not in _SILENT:
                again = f" (try {task.try_number})" if task.try_number > 1 else ""
                shown += self._changed(f"task {task.name}", f"{task.name:<{_NAME_WIDTH}} {task.state}{again}")
        for row in snapshot.clusters:
            _append(self.words.setdefault(row.cluster_id, []), row.status)
            text = f"{'cluster':<{_NAME_WIDTH}} {row.status:<{_WORD_WIDTH}} {row.label}  {row.cluster_id}"
            shown += self._changed(f"cluster {row.cluster_id}", text)
        return [f"{clock(snapshot.elapsed):>6}  {line}" for line in shown]

    def saw_word(self, word: str) -> bool:
        """Whether any cluster ever had that status word, in whatever case."""
        return any(word.casefold() == seen.casefold() for words in self.words.values() for seen in words)

    def _changed(self, thing: str, text: str) -> list[str]:
        if self._lines.get(thing) == text:
            return []
        self._lines[thing] = text
        return [text]


def status_line(snapshot: Snapshot) -> str:
    """Return everything that goes on at this moment, in one line."""
    parts = [f"{clock(snapshot.elapsed):>6}  run {snapshot.run_state}"]
    for task in snapshot.tasks:
        seconds = task.seconds(snapshot.now)
        if task.state in {"queued", "running", "deferred", "up_for_retry", "up_for_reschedule"}:
            parts.append(f"{task.name} {task.state}" + ("" if seconds is None else f" {clock(seconds)}"))
    alive = [row for row in snapshot.clusters if row.is_alive]
    parts += [f"cluster {row.status}, {counted(row.num_gpus, 'GPU')}" for row in alive]
    return " | ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, ``1:05``, with hours where there are any."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _append(seen: list[str], word: str) -> None:
    if seen[-1:] != [word]:
        seen.append(word)
