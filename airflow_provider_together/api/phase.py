"""
What a status word of either dialect means, in seven words of our own.

Kept apart from the models because it is the one table on which every wait, adoption and deletion
depends. Together's documents contradict each other about which dialect answers with which words, so
both vocabularies are understood everywhere. It imports nothing of the package.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """Where a cluster is in its life."""

    PENDING = "PENDING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    PAUSED = "PAUSED"
    FAILED = "FAILED"
    DELETING = "DELETING"
    GONE = "GONE"

    @property
    def is_alive(self) -> bool:
        """Whether a cluster in this phase may still be used, now or later."""
        return self in _ALIVE

    @property
    def has_to_be_deleted(self) -> bool:
        """Whether somebody must ask for the deletion of a cluster in this phase, or it stays."""
        return self not in _ENDING


_ENDING = frozenset({Phase.DELETING, Phase.GONE})
_ALIVE = frozenset({Phase.PENDING, Phase.READY, Phase.DEGRADED, Phase.PAUSED})

#: Status words without case, blanks, hyphens and underscores. The first group of PENDING words is the
#: older API's, the second the current one's; "Scheduled" is known to Together's own command line only.
_WORDS = {
    "pending": Phase.PENDING,
    "queued": Phase.PENDING,
    "waitingcontrolplane": Phase.PENDING,
    "waitingdataplane": Phase.PENDING,
    "unknownstatus": Phase.PENDING,
    "scheduled": Phase.PENDING,
    "waitingforcontrolplanenodes": Phase.PENDING,
    "waitingfordataplanenodes": Phase.PENDING,
    "waitingforsubnet": Phase.PENDING,
    "waitingforsharedvolume": Phase.PENDING,
    "waitingforautoscaler": Phase.PENDING,
    "installingdrivers": Phase.PENDING,
    "runningacceptancetests": Phase.PENDING,
    "runningnccltests": Phase.PENDING,
    "ready": Phase.READY,
    "degraded": Phase.DEGRADED,
    "paused": Phase.PAUSED,
    "ondemandcomputepaused": Phase.PAUSED,
    "failed": Phase.FAILED,
    "acceptancetestsfailed": Phase.FAILED,
    "nccltestsfailed": Phase.FAILED,
    "deleting": Phase.DELETING,
    "deleted": Phase.GONE,
}

_CLUSTER_PHASE_PREFIX = "clusterphase"
#: Unknown words that the log has named already; bounded, since the server chooses them.
_reported: set[str] = set()
_MOST_REPORTED = 100


def phase_of(status: str, transitions: Sequence[str] = ()) -> Phase:
    """
    Classify a status word, with the names of the cluster's phase transitions as a second witness.

    The current API has no word for failure: it shows only as the latest transition, while the status
    goes on saying that it waits. A word that nobody documents counts as PENDING, logged once.

    :param status: the raw word of the answer; empty if it had none.
    :param transitions: raw names of the phases gone through, oldest first.
    """
    phase = _lookup(status) if status else Phase.PENDING
    if phase is Phase.PENDING and transitions:
        latest = _WORDS.get(_fold(transitions[-1]))
        if latest is Phase.FAILED:
            return Phase.FAILED
    return phase


def failure_word(status: str, transitions: Sequence[str] = ()) -> str:
    """Return the raw word that says the most about a failure: the failed transition, else the status."""
    if transitions and _WORDS.get(_fold(transitions[-1])) is Phase.FAILED:
        return transitions[-1]
    return status


def _lookup(status: str) -> Phase:
    phase = _WORDS.get(_fold(status))
    if phase is None:
        if status not in _reported and len(_reported) < _MOST_REPORTED:
            _reported.add(status)
            log.warning("Together answered with an unknown status word %r; it counts as PENDING.", status)
        return Phase.PENDING
    return phase


def _fold(word: str) -> str:
    folded = "".join(letter for letter in word.lower() if letter.isalnum())
    return folded.removeprefix(_CLUSTER_PHASE_PREFIX)
