"""
The cluster name as a value: who a cluster is for and how long it may live, in at most 63 characters.

Neither dialect has labels or an end of life, so the name has to carry both: whoever can list the clusters
can tell whose they are and when they are over, without Airflow's database. A name of ours reads
``af-DEPLOYMENT-WORDS-OWNER-END``:

* ``DEPLOYMENT``: which Airflow it belongs to.
* ``WORDS``: dag and task, for people; nothing depends on them.
* ``OWNER``: hash of dag, run, task and map index, the same for all tries of a task.
* ``END``: when its life ends, in UTC to the minute, ``20260131t1530z``; ``open`` if nobody set an end.

It imports nothing of the package but its exceptions.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from airflow_provider_together.exceptions import ConfigurationError

#: The length of a DNS label, which Kubernetes demands of most names.
LONGEST_NAME = 63

_PREFIX = "af"
#: Characters of what stands for an owner in a name.
DIGEST_LENGTH = 12
_END_FORMAT = "%Y%m%dt%H%Mz"
_OPEN_END = "open"
_LONGEST_DEPLOYMENT = 12

_NAME = re.compile(
    rf"{_PREFIX}-(?P<deployment>[a-z0-9]{{1,{_LONGEST_DEPLOYMENT}}})-(?P<words>[a-z0-9-]*?)-?"
    rf"(?P<owner>[a-z2-7]{{{DIGEST_LENGTH}}})-(?P<end>[0-9]{{8}}t[0-9]{{4}}z|{_OPEN_END})",
    re.ASCII,
)


def deployment_id(text: str) -> str:
    """
    Check the part of the name that tells one Airflow from another.

    :param text: 1 to 12 characters of ``a-z0-9``.
    :raises ConfigurationError: if it is anything else.
    """
    if not re.fullmatch(rf"[a-z0-9]{{1,{_LONGEST_DEPLOYMENT}}}", text, re.ASCII):
        message = f"deployment={text!r} is wrong: use 1 to {_LONGEST_DEPLOYMENT} characters of a-z and 0-9"
        raise ConfigurationError(message)
    return text


def hashed(text: str, *, length: int = DIGEST_LENGTH) -> str:
    """
    Return what stands for a text in a name: so many characters of a-z and 2-7, of five bits each.

    What is named so may outlive an upgrade of this package, so that it must never come out otherwise.
    """
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:length]


def digest_of(*parts: str, length: int = DIGEST_LENGTH) -> str:
    """Return what stands for several texts in a name, see :func:`hashed`."""
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    return hashed("".join(f"{len(part)}:{part}" for part in parts), length=length)


@dataclass(frozen=True, slots=True)
class Owner:
    """The task instance for which a cluster exists. All tries of it are the same owner."""

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def digest(self) -> str:
        """
        What stands for this owner in a name, see :func:`digest_of`.

        The deployment stands beside them: so one look in a deployment's own memory tells whose a name is, whatever
        the deployment was called when it was made.
        """
        return digest_of(self.dag_id, self.run_id, self.task_id, str(self.map_index))


@dataclass(frozen=True, slots=True)
class ClusterName:
    """
    A name of ours, taken apart.

    :param end_of_life: in UTC, to the minute; None if nobody set an end.
    """

    deployment: str
    words: str
    owner_digest: str
    end_of_life: datetime | None = None

    @classmethod
    def of(cls, owner: Owner, *, now: datetime, lifetime: timedelta | None = None) -> Self:
        """
        Name a new cluster.

        :param now: when its life begins.
        :param lifetime: how long it may live; the end is rounded up to the minute.
        """
        end = None
        if lifetime is not None:
            end = (now.astimezone(UTC) + lifetime + timedelta(minutes=1) - timedelta.resolution).replace(
                second=0, microsecond=0
            )
        deployment = deployment_id(owner.deployment)
        end_length = len(_OPEN_END) if end is None else len(end.strftime(_END_FORMAT))
        room = LONGEST_NAME - len(f"{_PREFIX}-{deployment}-") - len("-") - DIGEST_LENGTH - len("-") - end_length
        return cls(deployment, _words(owner, room), owner.digest, end)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Take a name apart, or return None if it is not one that we could have made."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        end = None
        if match["end"] != _OPEN_END:
            try:
                end = datetime.strptime(match["end"], _END_FORMAT).replace(tzinfo=UTC)
            except ValueError:
                return None
        parsed = cls(match["deployment"], match["words"], match["owner"], end)
        return parsed if str(parsed) == text and len(text) <= LONGEST_NAME else None

    def is_over(self, now: float) -> bool:
        """Whether the end of life has passed, at a time in epoch seconds."""
        return self.end_of_life is not None and self.end_of_life.timestamp() <= now

    def is_of(self, owner: Owner) -> bool:
        """Whether this is a name of a cluster for that owner, made by any of its tries."""
        return self.deployment == owner.deployment and self.owner_digest == owner.digest

    def has_owner_of(self, other: str) -> bool:
        """Whether another name is one of ours, and of the same owner."""
        name = ClusterName.parse(other)
        return name is not None and (name.deployment, name.owner_digest) == (self.deployment, self.owner_digest)

    def __str__(self) -> str:
        end = _OPEN_END if self.end_of_life is None else self.end_of_life.strftime(_END_FORMAT)
        parts = (_PREFIX, self.deployment, self.words, self.owner_digest, end)
        return "-".join(part for part in parts if part)


def _words(owner: Owner, room: int) -> str:
    """Dag and task, readable, in ``room`` characters, sharing them fairly."""
    dag, task = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in (owner.dag_id, owner.task_id))
    index = f"-{owner.map_index}" if owner.map_index >= 0 else ""
    room -= len(index)
    task = task[: max(room // 2, room - len(dag) - 1)]
    dag = dag[: max(0, room - len(task) - 1)]
    words = re.sub(r"-+", "-", f"{dag}-{task}{index}").strip("-")
    return words[: room + len(index)].strip("-")
