"""
One question at a time for all who wait: what to ask next, and whom an answer concerns.

While one cluster is waited for it is asked for by Get, whose answer is smaller; while there are several, one List an
interval tells of all. Who comes new has a look of his own at once. A cluster that a List does not show is asked for
by Get, which alone proves that it is absent. A server that fails is left alone, by all. Only a change is judged, and
what a look means is for each wait to say.

Nothing here sends, sleeps or reads a clock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_together.api.call import Call, Flow, Note, Pause
from airflow_provider_together.api.models import Sight
from airflow_provider_together.api.wording import counted
from airflow_provider_together.exceptions import NotFoundError, RateLimitError, RequestRefusedError, TogetherError
from airflow_provider_together.waiting.agenda import Agenda
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import LONGEST_BACK_OFF, Look, back_off
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.verdict import Verdict

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect

#: At a start many come one after the other: a List for those who are new follows the last one after this many
#: seconds, or half an interval.
GATHERING_SECONDS = 1.0

#: Seconds between two rounds at the least, for those who wait without any interval.
_SHORTEST = 0.01
#: The question for all clusters, in place of an id.
_ALL = ""


class Waiter:
    """
    Somebody who waits for one cluster.

    :param wait: says what a look means to him.
    :param tell: gets each look that ends the wait, has news or asks for something; it must not raise.
    """

    __slots__ = ("is_listed", "sight", "tell", "wait")

    def __init__(self, wait: ReadyWait | GoneWait, tell: Callable[[Look], None]) -> None:
        self.wait = wait
        self.tell = tell
        self.sight: Sight | None = None
        #: Whether the last List showed his cluster; None if there was none since he came.
        self.is_listed: bool | None = None


class Question(NamedTuple):
    """
    What to ask next.

    :param due: when, in epoch seconds.
    :param cluster_id: of which cluster; empty for all.
    """

    due: float
    cluster_id: str = _ALL


class Board:
    """
    Who waits, what was seen, what is due.

    :param phase: where in the interval the rounds are, from 0 to 1, so that many processes do not ask at once.
    """

    def __init__(self, *, phase: float = 0.0) -> None:
        self._phase = phase
        self._waiters: dict[str, list[Waiter]] = {}
        self._intervals: Counter[float] = Counter()
        #: Clusters that nobody has looked at yet, and when they came.
        self._new: dict[str, float] = {}
        #: Clusters that the last List did not show, and when to ask for each.
        self._unlisted: Agenda[str] = Agenda()
        #: When a wait has something to say though nothing changes.
        self._alarms: Agenda[Waiter] = Agenda()
        self._last_round = -math.inf
        self._last_list = -math.inf
        self._list_wanted = math.inf
        #: Of the body of the last List, while everybody knows what it said.
        self.fingerprint: int | None = None
        #: The last failure, and how many there were in a row.
        self._error: TogetherError | None = None
        self._failures = 0
        self._list_failures = 0
        self._silent_until = -math.inf
        self._no_list_until = -math.inf

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def add(self, waiter: Waiter, *, now: float) -> None:
        """Let somebody wait; he is looked for at once, unless the server is to be left alone."""
        if not self._waiters:
            self._last_round = now
        cluster_id = waiter.wait.cluster_id
        self._waiters.setdefault(cluster_id, []).append(waiter)
        self._intervals[waiter.wait.poll_interval] += 1
        self._new.setdefault(cluster_id, now)
        self.fingerprint = None  # which he does not know
        if self._error is not None and now < self._silent_until:
            self._tell([waiter], self._error, now)

    def remove(self, waiter: Waiter) -> None:
        """Forget somebody, whether or not his wait is over."""
        cluster_id = waiter.wait.cluster_id
        waiters = self._waiters.get(cluster_id, [])
        if waiter not in waiters:
            return
        waiters.remove(waiter)
        self._alarms.discard(waiter)
        self._intervals[waiter.wait.poll_interval] -= 1
        self._intervals += Counter()  # drops what has come down to zero
        if not waiters:
            del self._waiters[cluster_id]
            self._new.pop(cluster_id, None)
            self._unlisted.discard(cluster_id)

    def next_question(self) -> Question:
        """Return what to ask next, and when."""
        if self._list_failures and self._failures:
            # Whether the server fails, or its List alone, is told by a Get.
            return Question(self._silent_until, next(iter(self._waiters)))
        wanted = [self._next_round(), Question(self._list_wanted)]
        if unlisted := self._unlisted.first():
            wanted.append(Question(*unlisted))
        if self._new:
            cluster_id, came = next(iter(self._new.items()))
            alone = len(self._new) == 1 or self._list_failures
            pace = min(GATHERING_SECONDS, self._interval / 2)
            wanted.append(Question(came, cluster_id) if alone else Question(max(came, self._last_list + pace)))
        return min(self._postponed(question) for question in wanted)

    def next_alarm(self) -> float:
        """Return when :meth:`ring` has something to do."""
        alarm = self._alarms.first()
        return alarm[0] if alarm else math.inf

    def ring(self, *, now: float) -> None:
        """Judge what has changed by the passing of time alone."""
        while (alarm := self._alarms.first()) and alarm[0] <= now:
            waiter = alarm[1]
            self._hand(waiter, waiter.wait.on_time(now=now), now)

    def on_list(self, fingerprint: int, sights: list[Sight] | None, *, now: float) -> None:
        """
        Judge a list.

        :param sights: what it shows; None if it is the one that everybody knows.
        """
        self._failures = self._list_failures = 0
        self._no_list_until = -math.inf
        self._last_round = self._last_list = now
        self._list_wanted = math.inf
        if sights is None:
            return
        listed = {sight.cluster_id: sight for sight in sights}
        for cluster_id, waiters in list(self._waiters.items()):
            sight = listed.get(cluster_id)
            if sight is not None:
                self._unlisted.discard(cluster_id)
            elif any(waiter.is_listed is not False for waiter in waiters):
                self._unlisted.set(cluster_id, now)
            for waiter in tuple(waiters):
                waiter.is_listed = sight is not None
                if sight is not None and sight != waiter.sight:
                    self._judge(waiter, sight, now)
        self._new.clear()
        self.fingerprint = fingerprint

    def on_cluster(self, question: Question, sight: Sight, *, now: float) -> None:
        """Judge the answer to a Get."""
        self._failures = 0
        is_listed = question.cluster_id not in self._unlisted and not self._list_failures
        for waiter in self._looked_at(question, now, again=None if is_listed else self._interval):
            self._judge(waiter, sight, now)

    def on_failure(self, question: Question, error: TogetherError, *, now: float) -> str:
        """
        Judge a question that failed.

        :returns: a sentence for those who look after the triggerer, or an empty one.
        """
        if question.cluster_id == _ALL:
            return self._on_list_failure(error, now)
        if isinstance(error, NotFoundError):
            self._failures = 0
            self._tell(self._looked_at(question, now, again=min(self._interval, LONGEST_BACK_OFF)), error, now)
            return ""
        asked = self._looked_at(question, now, again=self._interval)
        self._leave_alone(error, now)
        # The first one in a row may be about this cluster only.
        self._tell(asked if self._failures == 1 else self._everybody(), error, now)
        return ""

    def on_crash(self, error: TogetherError, *, now: float) -> None:
        """Go on after a fault of our own: as after one of the server."""
        self._leave_alone(error, now)
        self._tell(self._everybody(), error, now)

    @property
    def _interval(self) -> float:
        return max(min(self._intervals), _SHORTEST)

    def _next_round(self) -> Question:
        interval = self._interval
        offset = self._phase * interval
        # A last round that missed its moment by a rounding error is not made up for.
        done = math.floor((self._last_round - offset) / interval + 1e-6)
        due = (done + 1) * interval + offset
        return Question(due, next(iter(self._waiters)) if len(self._waiters) == 1 else _ALL)

    def _postponed(self, question: Question) -> Question:
        earliest = self._silent_until
        if question.cluster_id == _ALL:
            earliest = max(earliest, self._no_list_until)
        return question if question.due >= earliest else question._replace(due=earliest)

    def _on_list_failure(self, error: TogetherError, now: float) -> str:
        self._list_failures += 1
        if self._list_failures > 1 and not self._failures:
            return self._go_on_without_list(error, now)
        self._leave_alone(error, now)
        if isinstance(error, NotFoundError):  # says nothing of any cluster
            error = RequestRefusedError(str(error), status=error.status)
        self._tell(self._everybody(), error, now)
        return ""

    def _go_on_without_list(self, error: TogetherError, now: float) -> str:
        """Ask for each cluster by itself, since Get answers while List does not."""
        pause = back_off(error, failures=self._list_failures, poll_interval=self._interval)
        self._no_list_until = now + pause + self._interval  # which leaves the Gets their turn
        if isinstance(error, RateLimitError) or getattr(error, "retry_after", None):
            self._silent_until = now + pause
        for cluster_id in self._waiters:
            if cluster_id not in self._unlisted:
                self._unlisted.set(cluster_id, now)
        return f"{error} Asking for each of {counted(len(self._waiters), 'cluster')} by itself meanwhile."

    def _leave_alone(self, error: TogetherError, now: float) -> None:
        """Ask nothing for a while."""
        self._failures += 1
        self._error = error
        self._silent_until = now + back_off(error, failures=self._failures, poll_interval=self._interval)

    def _looked_at(self, question: Question, now: float, *, again: float | None) -> list[Waiter]:
        """
        Note that a cluster was asked for, and return who waits for it.

        :param again: seconds until it is asked for again, whatever the rounds do; None leaves it to them.
        """
        cluster_id = question.cluster_id
        if cluster_id not in self._waiters:  # all have left meanwhile
            return []
        waiters = self._waiters[cluster_id] = self._waiters.pop(cluster_id)  # the others are first now
        self._new.pop(cluster_id, None)
        if again is not None:
            self._unlisted.set(cluster_id, now + again)
        if len(self._waiters) == 1:
            self._last_round = now
        return list(waiters)

    def _everybody(self) -> list[Waiter]:
        return [waiter for waiters in self._waiters.values() for waiter in waiters]

    def _tell(self, waiters: list[Waiter], error: TogetherError, now: float) -> None:
        self.fingerprint = None
        for waiter in waiters:
            waiter.sight = None  # so that his wait is told also when he sees the same again
            self._hand(waiter, waiter.wait.on_error(error, now=now), now)

    def _judge(self, waiter: Waiter, sight: Sight, now: float) -> None:
        waiter.sight = sight
        self._hand(waiter, waiter.wait.on_cluster(sight, now=now), now)

    def _hand(self, waiter: Waiter, look: Look, now: float) -> None:
        if look.verdict is Verdict.GONE and isinstance(waiter.wait, GoneWait) and waiter.is_listed is not False:
            # Gone it is when List does not show it either.
            self._list_wanted = min(self._list_wanted, now + (self._interval if waiter.is_listed else 0.0))
            look = waiter.wait.on_listed(now=now)
        if look.is_unheard and now < self._silent_until:
            look = replace(look, is_unheard=False)
        if look.is_over:
            self.remove(waiter)
        else:
            self._alarms.set(waiter, waiter.wait.alarm)
        if look.is_over or look.news or look.is_unheard:
            waiter.tell(look)


def rounds(dialect: Dialect, board: Board) -> Flow[None]:
    """Ask and judge until nobody waits. Whoever lets it run must end its pauses early when somebody comes."""
    while True:
        now = yield from Pause(0)
        board.ring(now=now)
        if not board:
            return
        question = board.next_question()
        if question.due > now:
            yield from Pause(min(question.due, board.next_alarm()) - now)
            continue
        try:
            if question.cluster_id == _ALL:
                fingerprint, sights = yield from _if_changed(dialect.list_sights().once(), board.fingerprint)
            else:
                cluster = yield from dialect.get_cluster(question.cluster_id).once()
        except TogetherError as error:
            warning = board.on_failure(question, error, now=(yield from Pause(0)))
            if warning:
                yield Note(warning)
        else:
            now = yield from Pause(0)
            if question.cluster_id == _ALL:
                board.on_list(fingerprint, sights, now=now)
            else:
                board.on_cluster(question, cluster.sight(), now=now)


def _if_changed(call: Call[list[Sight]], known: int | None) -> Call[tuple[int, list[Sight] | None]]:
    """
    Return a call that tells the fingerprint of the body, and what is in it if it is not the known one.

    Python's own hash is keyed and takes a quarter of the time of a digest. The body itself is not kept, since it holds
    kubeconfigs.
    """

    def decode(content: bytes) -> tuple[int, Any]:
        fingerprint = hash(content)
        return fingerprint, None if fingerprint == known else call.decode(content)

    def read(body: tuple[int, Any]) -> tuple[int, list[Sight] | None]:
        fingerprint, decoded = body
        return fingerprint, None if decoded is None else call.read(decoded)

    return call.reading(decode, read)
