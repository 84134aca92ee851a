"""
A cloud in virtual time for the shared rounds: it answers what they ask, when they ask it, and writes it down.

Answers are real bodies that the real readers read; what happens meanwhile is planned beforehand. Nothing is sent
and nobody sleeps.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_together.api.answer import HTTPAnswer, read_answer
from airflow_provider_together.api.call import Call, Note, Pause, Step
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import NotFoundError, TogetherError
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.rounds import Board, Waiter, rounds
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.engine import settings_with

START = 1000.0


@dataclass
class Heard:
    """What one who waits was told, and when."""

    looks: list[tuple[float, Look]] = field(default_factory=list)
    #: Ends his waiting from outside.
    leave: Callable[[], object] = lambda: None

    @property
    def end(self) -> tuple[float, Verdict] | None:
        """When his wait ended, and how; None if it goes on."""
        last = self.looks[-1] if self.looks else None
        return (last[0], last[1].verdict) if last is not None and last[1].is_over else None

    @property
    def news(self) -> list[str]:
        return [look.news for _, look in self.looks if look.news]


@dataclass
class Fault:
    """
    What goes wrong.

    :param error: what the question ends in.
    :param lists: whether List fails.
    :param gets: which Gets fail; None for all.
    :param until: until when.
    """

    error: TogetherError
    lists: bool = True
    gets: Iterable[str] | None = None
    until: float = float("inf")

    def hits(self, cluster_id: str) -> bool:
        if not cluster_id:
            return self.lists
        return self.gets is None or cluster_id in self.gets


class Timeline:
    """
    Clusters, those who wait for them, and the time.

    :param latency: seconds that an answer takes.
    """

    def __init__(self, dialect: Dialect, *, latency: float = 0.0, phase: float = 0.0) -> None:
        self.dialect = dialect
        self.latency = latency
        self.now = START
        self.board = Board(phase=phase)
        self.statuses: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.unlisted: set[str] = set()
        self.fault: Fault | None = None
        #: When each question was sent, and its cluster's id; an empty one is a List.
        self.asked: list[tuple[float, str]] = []
        self.parsed = 0
        self.notes: list[str] = []
        self._plan: list[tuple[float, int, Callable[[], object]]] = []
        self._ticket = itertools.count()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Plan something, in seconds after the start."""
        heapq.heappush(self._plan, (START + seconds, next(self._ticket), action))

    def watch(self, cluster_id: str, *, seconds: float = 0.0, status: str = "QUEUED", **wait: Any) -> Heard:
        """Let somebody come and wait until a cluster is READY."""
        self.statuses.setdefault(cluster_id, status)
        return self._come(ReadyWait(cluster_id, **self._terms(wait)), seconds)

    def watch_end(self, cluster_id: str, *, seconds: float = 0.0, status: str = "DELETING", **wait: Any) -> Heard:
        """Let somebody come and wait until a cluster is gone, whose deletion was accepted."""
        self.statuses.setdefault(cluster_id, status)
        gone = GoneWait(cluster_id, **self._terms(wait))
        gone.accept()
        return self._come(gone, seconds)

    def set_status(self, cluster_id: str, status: str, *, seconds: float) -> None:
        self.at(seconds, lambda: self.statuses.update({cluster_id: status}))

    def run(self, seconds: float) -> None:
        """Let rounds go on while somebody waits, until that time after the start."""
        end = START + seconds
        self._catch_up()
        while self.now <= end and (self.board or self._plan):
            if self.board:
                self._run_rounds(end)
            else:
                self._pass(self._plan[0][0] - self.now)

    def _run_rounds(self, end: float) -> None:
        flow = rounds(self.dialect, self.board)
        try:
            step = next(flow)
            while self.now <= end:
                try:
                    answer = self._do(step, end)
                except TogetherError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration:
            return

    def _do(self, step: Step, end: float) -> Any:
        if isinstance(step, Call):
            return self._answer(step)
        if isinstance(step, Pause):
            self._pass(min(step.seconds, end + 1 - self.now))
            return self.now
        assert isinstance(step, Note)
        return self.notes.append(step.message)

    @property
    def lists(self) -> list[float]:
        """When Lists were sent, in seconds after the start."""
        return [time - START for time, cluster_id in self.asked if not cluster_id]

    def gets(self, cluster_id: str) -> list[float]:
        """When Gets of a cluster were sent, in seconds after the start."""
        return [time - START for time, asked in self.asked if asked == cluster_id]

    def _terms(self, wait: dict[str, Any]) -> dict[str, Any]:
        return {"started": START, "deadline": START + 3600.0, "poll_interval": 15.0, **wait}

    def _come(self, wait: ReadyWait | GoneWait, seconds: float) -> Heard:
        heard = Heard()
        waiter = Waiter(wait, lambda look: heard.looks.append((self.now - START, look)))
        heard.leave = lambda: self.board.remove(waiter)
        self.at(seconds, lambda: self.board.add(waiter, now=self.now))
        return heard

    def _catch_up(self) -> None:
        while self._plan and self._plan[0][0] <= self.now:
            heapq.heappop(self._plan)[2]()

    def _pass(self, seconds: float) -> None:
        """Let time pass; whoever comes ends a pause early, as anything else that was planned does."""
        if seconds <= 0:
            return
        end = self.now + seconds
        self.now = min(end, self._plan[0][0]) if self._plan else end
        self._catch_up()

    def _answer(self, call: Call[Any]) -> Any:
        list_path = self.dialect.list_clusters().path
        cluster_id = "" if call.path == list_path else call.path.rpartition("/")[2]
        assert (call.method, call.attempts) == ("GET", 1)
        self.asked.append((self.now, cluster_id))
        arrival = self.now + self.latency
        while self.now < arrival:
            self._pass(arrival - self.now)
        if self.fault is not None and self.now < self.fault.until and self.fault.hits(cluster_id):
            raise self.fault.error
        if cluster_id and cluster_id not in self.statuses:
            message = f"no cluster {cluster_id}."
            raise NotFoundError(message, status=404)
        return read_answer(self._counted(call), HTTPAnswer(200, {}, self._body(cluster_id)), settings_with())

    def _counted(self, call: Call[Any]) -> Call[Any]:
        def read(body: Any) -> Any:
            result = call.read(body)
            self.parsed += not isinstance(result, tuple) or result[1] is not None
            return result

        return call.reading(call.decode, read)

    def _body(self, cluster_id: str) -> bytes:
        def shown(one: str) -> dict[str, Any]:
            name = self.names.get(one, f"train-{one}")
            return {"cluster_id": one, "cluster_name": name, "status": self.statuses[one], "num_gpus": 8}

        if cluster_id:
            return json.dumps(shown(cluster_id)).encode()
        listed = [shown(one) for one in self.statuses if one not in self.unlisted]
        return json.dumps({"clusters": listed}).encode()
