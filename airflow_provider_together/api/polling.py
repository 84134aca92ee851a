"""
What one look at a cluster means to somebody who waits for it.

No client, no clock, no sleep: whoever polls tells what was seen and what time it is, and learns whether
to go on and when to look again. Only a verdict or the deadline ends a wait; a server that fails, a
connection that breaks, an answer that cannot be read or a list that lags never does. It imports models, names
and exceptions only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.naming import ClusterName
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.exceptions import (
    ClusterFailedError,
    ClusterGoneError,
    NotFoundError,
    PermanentError,
    SpecError,
    TogetherError,
    WaitTimeoutError,
)

#: Longest time between two looks while the server fails, in seconds.
LONGEST_BACK_OFF = 60.0
#: A cluster that answers 404 is gone once it has done so for this long, in seconds: a new one may not be
#: visible everywhere at once.
ABSENCE_SECONDS = 60.0
#: Longest wait that a server may ask for between two looks, in seconds: a broken Retry-After must not blind a wait.
LONGEST_ASKED = 600.0
#: A key that is refused is taken back as often by mistake as on purpose; after this many seconds the wait ends.
REFUSAL_SECONDS = 300.0
#: From this many seconds before a cluster's end of life on, those who wait or work on it are told.
NEAR_END_SECONDS = 3600.0

Reaction = Literal["wait", "ready", "fail"]
REACTIONS: tuple[Reaction, ...] = ("wait", "ready", "fail")


class Verdict(StrEnum):
    """What a look means."""

    GO_ON = "go on"
    READY = "ready"
    FAILED = "failed"
    GONE = "gone"
    REFUSED = "refused"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Look:
    """
    What to do after one look.

    :param verdict: anything but GO_ON ends the wait.
    :param word: the raw word of Together that the verdict rests on; empty if there is none.
    :param delay: seconds until the next look.
    :param news: a sentence for the log if something has changed, else empty.
    """

    verdict: Verdict
    word: str = ""
    delay: float = 0.0
    news: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the wait has ended."""
        return self.verdict is not Verdict.GO_ON


class _Wait(ABC):
    """
    What both waits share: deadline, absence, refusals, back-off.

    :param cluster_id: for the sentences.
    :param started: when the wait began, in epoch seconds.
    :param deadline: when it ends without a verdict, in epoch seconds; None for never.
    :param poll_interval: seconds between two looks.
    """

    def __init__(self, cluster_id: str, *, started: float, deadline: float | None, poll_interval: float) -> None:
        self.cluster_id = cluster_id
        self.started = started
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.last_word = ""
        self._absence_seconds = min(ABSENCE_SECONDS, 4 * poll_interval)
        self._failures = 0
        self._absent_since: float | None = None
        self._refused_since: float | None = None
        self._is_end_told = False

    def on_cluster(self, cluster: Cluster, *, now: float) -> Look:
        """Judge an answer that shows the cluster."""
        self._failures = 0
        self._absent_since = self._refused_since = None
        news = ""
        if cluster.status != self.last_word:
            before = f" (was {self.last_word})" if self.last_word else ""
            news = (
                f"Cluster {self.cluster_id} is {cluster.status or 'without status'}{before} after {self._elapsed(now)}"
            )
            self.last_word = cluster.status
        verdict = self._judge(cluster)
        end = self._end_of_life(cluster, now)
        if verdict is not Verdict.GO_ON:
            word = cluster.failure if verdict is Verdict.FAILED else cluster.status
            return Look(verdict, word=word, news=f"{news}. {end}" if end else news)
        outlook = f"{news}; {self._outlook(now)}" if news else ""
        return self._go_on(self.poll_interval, now=now, news=". ".join(filter(None, (outlook, end))))

    def on_error(self, error: TogetherError, *, now: float) -> Look:
        """Judge a look that failed."""
        self._failures += 1
        if isinstance(error, NotFoundError):
            return self._on_absence(now)
        self._absent_since = None
        if isinstance(error, PermanentError):
            if self._refused_since is None:
                self._refused_since = now
            if now - self._refused_since >= min(REFUSAL_SECONDS, 20 * self.poll_interval):
                return Look(Verdict.REFUSED, word=self.last_word, news=str(error))
        else:
            self._refused_since = None
        delay = min(self.poll_interval * 2.0 ** min(self._failures - 1, 16), max(LONGEST_BACK_OFF, self.poll_interval))
        asked = min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED)
        first = f"{error} The cluster is still waited for." if self._failures == 1 else ""
        return self._go_on(max(delay, asked), now=now, news=first)

    @property
    def is_absence_open(self) -> bool:
        """Whether the cluster was not found, and it is not settled yet whether it is gone."""
        return self._absent_since is not None

    def memory(self) -> dict[str, Any]:
        """Return, as JSON, what a wait that goes on in another process must know."""
        return {
            "started": self.started,
            "word": self.last_word,
            "refused_since": self._refused_since or 0.0,
            "is_end_told": self._is_end_told,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on where another process stopped."""
        self.started = memory.get("started", self.started)
        self.last_word = memory.get("word", "")
        self._refused_since = memory.get("refused_since") or None
        self._is_end_told = memory.get("is_end_told", False)

    def _on_absence(self, now: float) -> Look:
        is_first = self._absent_since is None
        if self._absent_since is None:
            self._absent_since = now
        if now - self._absent_since >= self._absence_seconds:
            return Look(Verdict.GONE, word=self.last_word, news=f"Cluster {self.cluster_id} is gone.")
        news = f"Cluster {self.cluster_id} was not found after {self._elapsed(now)}; looking again." if is_first else ""
        # The slow poller comes again as soon as the absence can be settled.
        return self._go_on(min(self.poll_interval, ABSENCE_SECONDS), now=now, news=news)

    def _go_on(self, delay: float, *, now: float, news: str = "") -> Look:
        if self.deadline is None:
            return Look(Verdict.GO_ON, word=self.last_word, delay=delay, news=news)
        left = self.deadline - now
        if left <= 0:
            return Look(Verdict.TIMED_OUT, word=self.last_word, news=news)
        return Look(Verdict.GO_ON, word=self.last_word, delay=min(delay, left), news=news)

    @abstractmethod
    def _judge(self, cluster: Cluster) -> Verdict:
        """Return what an answer that shows the cluster means."""

    def _outlook(self, now: float) -> str:
        if self.deadline is None:
            return "waiting without a deadline"
        return f"waiting for {duration(self.deadline - now)} more at the most"

    def _elapsed(self, now: float) -> str:
        return duration(now - self.started)

    def _end_of_life(self, cluster: Cluster, now: float) -> str:
        """Return, once, a warning that the end of the cluster's life is near."""
        warning = "" if self._is_end_told else end_of_life_warning(cluster, now=now)
        self._is_end_told = self._is_end_told or bool(warning)
        return warning


class ReadyWait(_Wait):
    """
    Waits until a cluster is READY.

    :param on_degraded: what to do while it is DEGRADED: some nodes are unhealthy and may be repaired.
    :param on_paused: what to do while it is PAUSED: Together paused it, mostly because credits ran out.
    :param num_gpus: wait until its workers have this many GPUs, after a change; None takes any number.
    :raises SpecError: if a reaction is none of :data:`REACTIONS`.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the wait
        self,
        cluster_id: str,
        *,
        started: float,
        deadline: float | None = None,
        poll_interval: float = 15.0,
        on_degraded: Reaction = "wait",
        on_paused: Reaction = "fail",
        num_gpus: int | None = None,
    ) -> None:
        super().__init__(cluster_id, started=started, deadline=deadline, poll_interval=poll_interval)
        self.num_gpus = num_gpus
        self._reactions = {
            Phase.DEGRADED: _verdict_for("on_degraded", on_degraded),
            Phase.PAUSED: _verdict_for("on_paused", on_paused),
            Phase.READY: Verdict.READY,
            Phase.FAILED: Verdict.FAILED,
            Phase.DELETING: Verdict.GONE,
            Phase.GONE: Verdict.GONE,
        }

    def _judge(self, cluster: Cluster) -> Verdict:
        verdict = self._reactions.get(cluster.phase, Verdict.GO_ON)
        if verdict is Verdict.READY and self.num_gpus is not None and cluster.gpus_present() != self.num_gpus:
            return Verdict.GO_ON
        return verdict


class GoneWait(_Wait):
    """Waits until a cluster that was asked to go is gone: absent from Get, and then from List."""

    is_accepted = False

    def accept(self) -> None:
        """
        Take note that Together has accepted the deletion, so that the first 404 counts.

        A 404 to the deletion itself proves less: a cluster that is very new may not be visible yet.
        """
        self.is_accepted = True
        self._absence_seconds = 0.0

    def on_listed(self, *, now: float) -> Look:
        """Judge a list that still shows a cluster for which Get answers 404."""
        return self._go_on(self.poll_interval, now=now)

    def _judge(self, cluster: Cluster) -> Verdict:
        return Verdict.GONE if cluster.phase is Phase.GONE else Verdict.GO_ON

    def _end_of_life(self, cluster: Cluster, now: float) -> str:  # noqa: ARG002 - it is ending anyway
        return ""


def failure_of(cluster_id: str, verdict: Verdict, word: str, *, fate: str = "") -> TogetherError:
    """
    Return the error for a wait that did not end well.

    :param word: the raw status word that the verdict rests on.
    :param fate: a sentence that says what became of the cluster.
    """
    status = f" (status {word})" if word else ""
    sentences = {
        Verdict.FAILED: (ClusterFailedError, f"Cluster {cluster_id} will not become READY{status}."),
        Verdict.GONE: (ClusterGoneError, f"Cluster {cluster_id} is gone or going{status}."),
        Verdict.REFUSED: (
            PermanentError,
            f"Together keeps refusing to tell of cluster {cluster_id}{status}.",
        ),
        Verdict.TIMED_OUT: (WaitTimeoutError, f"The time for cluster {cluster_id} is over{status}."),
    }
    kind, sentence = sentences[verdict]
    error: TogetherError = kind(f"{sentence} {fate}".strip())
    return error


def end_of_life_warning(cluster: Cluster, *, now: float) -> str:
    """
    Return a sentence for those who use a cluster whose end of life is near or has passed, else an empty one.

    :param now: epoch seconds.
    """
    name = ClusterName.parse(cluster.cluster_name)
    if name is None or name.end_of_life is None:
        return ""
    left = name.end_of_life.timestamp() - now
    if left > NEAR_END_SECONDS:
        return ""
    when = f"in {duration(left)}" if left > 0 else f"{duration(-left)} ago"
    return (
        f"The life of cluster {cluster.cluster_id} {'ends' if left > 0 else 'ended'} {when} "
        f"({name.end_of_life:%Y-%m-%d %H:%M} UTC): from then on the next create or sweep deletes it. "
        "Give the next one a longer max_lifetime"
    )


def _verdict_for(name: str, reaction: Reaction) -> Verdict:
    if reaction not in _VERDICTS:
        raise SpecError([f"{name}={reaction!r} is wrong: use one of {', '.join(map(repr, REACTIONS))}"])
    return _VERDICTS[reaction]


_VERDICTS: dict[Reaction, Verdict] = {"wait": Verdict.GO_ON, "ready": Verdict.READY, "fail": Verdict.FAILED}


def duration(seconds: float) -> str:
    """Return a duration for people: ``45 s``, ``12 min 30 s``, ``3 h 5 min``."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute} min"
    return f"{minutes} min {second} s" if minutes else f"{second} s"
