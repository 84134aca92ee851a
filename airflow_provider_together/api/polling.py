"""
What one look at a cluster means to somebody who waits for it.

No client, no clock, no sleep: whoever polls tells what was seen and what time it is, and learns whether
to go on and when to look again. Only a verdict or the deadline ends a wait; a server that fails, a
connection that breaks, an answer that cannot be read or a list that lags never does. It imports models, names,
verdicts and exceptions only.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_together.api.models import Cluster, Sight
from airflow_provider_together.api.naming import ClusterName
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.verdict import REACTIONS, Reaction, Verdict
from airflow_provider_together.exceptions import (
    ClusterFailedError,
    ClusterGoneError,
    NotFoundError,
    PermanentError,
    SpecError,
    TogetherError,
    WaitTimeoutError,
    is_refusal,
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
#: How many intervals a cluster whose deletion was requested may be seen living on until it is asked again.
_UNHEARD_LOOKS = 2


@dataclass(frozen=True, slots=True)
class Look:
    """
    What to do after one look.

    :param verdict: anything but GO_ON ends the wait.
    :param word: the raw word of Together that the verdict rests on; empty if there is none.
    :param delay: seconds until the next look.
    :param news: a sentence for the log if something has changed, else empty.
    :param is_unheard: whether the cluster lives on as if nobody had asked it to go.
    :param error: what Together answered last instead of doing what was asked for, if the wait ends because of that.
    """

    verdict: Verdict
    word: str = ""
    delay: float = 0.0
    news: str = ""
    is_unheard: bool = False
    error: str = ""

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

    # Ten thousand of them may wait in one process.
    __slots__ = (
        "_absence_seconds",
        "_absent_since",
        "_end_of_life",
        "_failures",
        "_is_end_told",
        "_last_error",
        "_refused_since",
        "cluster_id",
        "deadline",
        "last_word",
        "poll_interval",
        "started",
    )

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
        self._end_of_life = math.inf
        self._is_end_told = False
        self._last_error = ""

    def on_cluster(self, cluster: Cluster | Sight, *, now: float) -> Look:
        """Judge an answer that shows the cluster."""
        self._failures = 0
        self._last_error = ""
        self._absent_since = self._refused_since = None
        self._end_of_life = self._end_of(cluster)
        news = ""
        if cluster.status != self.last_word:
            before = f" (was {self.last_word})" if self.last_word else ""
            news = (
                f"Cluster {self.cluster_id} is {cluster.status or 'without status'}{before} after {self._elapsed(now)}"
            )
            self.last_word = cluster.status
        verdict = self._judge(cluster)
        end = self._warning(now)
        if verdict is not Verdict.GO_ON:
            word = cluster.failure if verdict is Verdict.FAILED else cluster.status
            return Look(verdict, word=word, news=f"{news}. {end}" if end else news)
        outlook = f"{news}; {self._outlook(now)}" if news else ""
        return self._go_on(self.poll_interval, now=now, news=". ".join(filter(None, (outlook, end))))

    def on_time(self, *, now: float) -> Look:
        """Judge that time has passed since the last look, for those who are told of changes only."""
        return self._go_on(self.poll_interval, now=now, news=self._warning(now))

    @property
    def alarm(self) -> float:
        """When :meth:`on_time` has something to say, in epoch seconds, if nothing changes until then."""
        end = math.inf if self._is_end_told else self._end_of_life - NEAR_END_SECONDS
        return end if self.deadline is None else min(end, self.deadline)

    def on_error(self, error: TogetherError, *, now: float) -> Look:
        """Judge a look that failed."""
        self._failures += 1
        if isinstance(error, NotFoundError):
            return self._on_absence(now)
        self._absent_since = None
        news = f"{error} The cluster is still waited for." if self._is_new(error) else ""
        self._last_error = str(error)
        if is_refusal(error):
            if self._refused_since is None:
                self._refused_since = now
            if now - self._refused_since >= min(REFUSAL_SECONDS, 20 * self.poll_interval):
                return Look(Verdict.REFUSED, word=self.last_word, news=str(error), error=str(error))
        else:
            self._refused_since = None
        delay = back_off(error, failures=self._failures, poll_interval=self.poll_interval)
        return self._go_on(delay, now=now, news=news)

    def _is_new(self, error: TogetherError) -> bool:
        """Whether that was not told yet: a server that fails goes on failing, one that refuses may change its mind."""
        return self._failures == 1 or (isinstance(error, PermanentError) and str(error) != self._last_error)

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
            return Look(Verdict.TIMED_OUT, word=self.last_word, news=news, error=self._last_error)
        return Look(Verdict.GO_ON, word=self.last_word, delay=min(delay, left), news=news)

    @abstractmethod
    def _judge(self, cluster: Cluster | Sight) -> Verdict:
        """Return what an answer that shows the cluster means."""

    def _outlook(self, now: float) -> str:
        if self.deadline is None:
            return "waiting without a deadline"
        return f"waiting for {duration(self.deadline - now)} more at the most"

    def _elapsed(self, now: float) -> str:
        return duration(now - self.started)

    def _end_of(self, cluster: Cluster | Sight) -> float:
        return _end_of_life(cluster.cluster_name)

    def _warning(self, now: float) -> str:
        """Return, once, a warning that the end of the cluster's life is near."""
        warning = "" if self._is_end_told else _warning(self.cluster_id, self._end_of_life, now)
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

    __slots__ = ("_if_degraded", "_if_paused", "num_gpus")

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
        self._if_degraded = _verdict_for("on_degraded", on_degraded)
        self._if_paused = _verdict_for("on_paused", on_paused)

    def _judge(self, cluster: Cluster | Sight) -> Verdict:
        phase = cluster.phase
        if phase is Phase.DEGRADED:
            verdict = self._if_degraded
        elif phase is Phase.PAUSED:
            verdict = self._if_paused
        else:
            verdict = _MEANINGS[phase]
        if verdict is Verdict.READY and self.num_gpus is not None and cluster.gpus_present() != self.num_gpus:
            return Verdict.GO_ON
        return verdict


class GoneWait(_Wait):
    """Waits until a cluster whose deletion was requested is gone: absent from Get, and from List."""

    __slots__ = ("_alive_since", "_refusal", "cluster_name", "is_accepted")

    def __init__(self, cluster_id: str, *, started: float, deadline: float | None, poll_interval: float) -> None:
        super().__init__(cluster_id, started=started, deadline=deadline, poll_interval=poll_interval)
        self.is_accepted = False
        #: As it was seen last; empty as long as it was not.
        self.cluster_name = ""
        self._refusal = ""
        self._alive_since: float | None = None

    def accept(self) -> None:
        """
        Take note that Together has accepted the deletion, so that the first 404 counts.

        A 404 to the deletion itself proves less: a cluster that is very new may not be visible yet.
        """
        self.is_accepted = True
        self._absence_seconds = 0.0
        self._refusal = ""

    def refuse(self, error: TogetherError) -> None:
        """Take note that Together did not accept the deletion this time, for the error that the wait may end with."""
        self._refusal = str(error)

    def on_cluster(self, cluster: Cluster | Sight, *, now: float) -> Look:
        """Judge an answer that shows the cluster; one that lives on is to be asked again."""
        self.cluster_name = cluster.cluster_name
        if not cluster.phase.has_to_be_deleted:
            self._alive_since = None
        elif self._alive_since is None:
            self._alive_since = now
        return self._unheard(super().on_cluster(cluster, now=now), now)

    def on_error(self, error: TogetherError, *, now: float) -> Look:
        """Judge a look that failed; a cluster that is not found does not live on."""
        if isinstance(error, NotFoundError):
            self._alive_since = None
        return super().on_error(error, now=now)

    def on_time(self, *, now: float) -> Look:
        """See :meth:`_Wait.on_time`."""
        return self._unheard(super().on_time(now=now), now)

    @property
    def alarm(self) -> float:
        """See :attr:`_Wait.alarm`."""
        return min(super().alarm, math.inf if self._alive_since is None else self._alive_since + self._patience)

    def on_listed(self, *, now: float) -> Look:
        """Judge a list that still shows a cluster which Get says is gone."""
        return self._go_on(self.poll_interval, now=now)

    @property
    def _patience(self) -> float:
        """Seconds that a cluster may live on before it is asked again."""
        return _UNHEARD_LOOKS * self.poll_interval

    def _unheard(self, look: Look, now: float) -> Look:
        if look.verdict is Verdict.TIMED_OUT and not look.error:
            return replace(look, error=self._refusal)
        if look.is_over or self._alive_since is None or now < self._alive_since + self._patience:
            return look
        self._alive_since = now
        return replace(look, is_unheard=True)

    def _judge(self, cluster: Cluster | Sight) -> Verdict:
        return Verdict.GONE if cluster.phase is Phase.GONE else Verdict.GO_ON

    def _end_of(self, cluster: Cluster | Sight) -> float:  # noqa: ARG002 - it is ending anyway
        return math.inf


def back_off(error: TogetherError, *, failures: int, poll_interval: float) -> float:
    """
    Return the seconds until a server that fails is asked again.

    :param failures: how often it has failed in a row.
    :param poll_interval: seconds between two looks when it does not.
    """
    delay = min(poll_interval * 2.0 ** min(failures - 1, 16), max(LONGEST_BACK_OFF, poll_interval))
    return max(delay, min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED))


def failure_of(cluster_id: str, verdict: Verdict, word: str, *, fate: str = "", error: str = "") -> TogetherError:
    """
    Return the error for a wait that did not end well.

    :param word: the raw status word that the verdict rests on.
    :param fate: a sentence that says what became of the cluster.
    :param error: what Together answered last instead of doing what was asked for.
    """
    status = f" (status {word})" if word else ""
    unknown = (
        f"Together does not know cluster {cluster_id}: it is gone, or that is not its id, or the connection is not "
        "that of its project."
    )
    gone = f"Cluster {cluster_id} is deleted or being deleted{status}." if word else unknown
    sentences: dict[Verdict, tuple[type[TogetherError], str]] = {
        Verdict.FAILED: (ClusterFailedError, f"Cluster {cluster_id} will not become READY{status}."),
        Verdict.GONE: (ClusterGoneError, gone),
        Verdict.REFUSED: (
            PermanentError,
            f"Together keeps refusing requests about cluster {cluster_id}{status}.",
        ),
        Verdict.TIMED_OUT: (WaitTimeoutError, f"The time for cluster {cluster_id} is over{status}."),
    }
    kind, sentence = sentences[verdict]
    return kind(" ".join(filter(None, (sentence, fate, error))))


def end_of_life_warning(cluster: Cluster, *, now: float) -> str:
    """
    Return a sentence for those who use a cluster whose end of life is near or has passed, else an empty one.

    :param now: epoch seconds.
    """
    return _warning(cluster.cluster_id, _end_of_life(cluster.cluster_name), now)


def _end_of_life(cluster_name: str) -> float:
    """Return the end of life that a name tells, in epoch seconds; infinity if it tells none."""
    name = ClusterName.parse(cluster_name)
    return math.inf if name is None or name.end_of_life is None else name.end_of_life.timestamp()


def _warning(cluster_id: str, end: float, now: float) -> str:
    if now < end - NEAR_END_SECONDS:
        return ""
    left = end - now
    when = f"in {duration(left)}" if left > 0 else f"{duration(-left)} ago"
    return (
        f"The life of cluster {cluster_id} {'ends' if left > 0 else 'ended'} {when} "
        f"({datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC): from then on the next create or sweep deletes it. "
        "Give the next one a longer max_lifetime"
    )


def _verdict_for(name: str, reaction: Reaction) -> Verdict:
    if reaction not in _VERDICTS:
        raise SpecError([f"{name}={reaction!r} is wrong: use one of {', '.join(map(repr, REACTIONS))}"])
    return _VERDICTS[reaction]


_VERDICTS: dict[Reaction, Verdict] = {"wait": Verdict.GO_ON, "ready": Verdict.READY, "fail": Verdict.FAILED}
#: What a phase means to a wait for READY where the user has no say.
_MEANINGS = {
    Phase.PENDING: Verdict.GO_ON,
    Phase.READY: Verdict.READY,
    Phase.FAILED: Verdict.FAILED,
    Phase.DELETING: Verdict.GONE,
    Phase.GONE: Verdict.GONE,
}


def duration(seconds: float) -> str:
    """Return a duration for people: ``45 s``, ``12 min 30 s``, ``3 h 5 min``."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute} min"
    return f"{minutes} min {second} s" if minutes else f"{second} s"
