"""
How long a wait goes on in spite of what it sees, and when it looks again: what all waits share.

No client, no clock, no sleep: whoever polls tells what was seen and what time it is, and learns whether
to go on and when to look again. Only a verdict or the deadline ends a wait; a server that fails, a
connection that breaks, an answer that cannot be read or a list that lags never does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_together.api.backoff import doubled
from airflow_provider_together.api.models import Cluster, Sight
from airflow_provider_together.api.wording import duration
from airflow_provider_together.exceptions import NotFoundError, PermanentError, TogetherError, is_refusal
from airflow_provider_together.waiting.end_of_life import NEAR_END_SECONDS, end_of_life, end_warning
from airflow_provider_together.waiting.verdict import Verdict

#: Longest time between two looks while the server fails, in seconds.
LONGEST_BACK_OFF = 60.0
#: A cluster that answers 404 is gone once it has done so for this long, in seconds: a new one may not be
#: visible everywhere at once.
ABSENCE_SECONDS = 60.0
#: Longest wait that a server may ask for between two looks, in seconds: a broken Retry-After must not blind a wait.
LONGEST_ASKED = 600.0
#: A key that is refused is taken back as often by mistake as on purpose; after this many seconds the wait ends.
REFUSAL_SECONDS = 300.0


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


class Wait(ABC):
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

    def settings(self) -> dict[str, Any]:
        """Return, as JSON, what the trigger needs that goes on with this wait in another process."""
        return {
            "cluster_id": self.cluster_id,
            "poll_interval": self.poll_interval,
            "started": self.started,
            "end_time": self.deadline,
        }

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
        return end_of_life(cluster.cluster_name)

    def _warning(self, now: float) -> str:
        """Return, once, a warning that the end of the cluster's life is near."""
        warning = "" if self._is_end_told else end_warning(self.cluster_id, self._end_of_life, now)
        self._is_end_told = self._is_end_told or bool(warning)
        return warning


def back_off(error: TogetherError, *, failures: int, poll_interval: float) -> float:
    """
    Return the seconds until a server that fails is asked again.

    :param failures: how often it has failed in a row.
    :param poll_interval: seconds between two looks when it does not.
    """
    delay = doubled(poll_interval, attempt=failures, longest=max(LONGEST_BACK_OFF, poll_interval))
    return max(delay, min(getattr(error, "retry_after", None) or 0.0, LONGEST_ASKED))
