"""
Faults: what goes wrong on purpose, where, and how often.

A fault is a value; :class:`FaultBook` holds those that are in force and counts them down. What a fault does is
done where it happens: in ``app.py`` (answers, connections) and ``operation.py`` (effects, lists). It imports nothing
of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

ROUTES = tuple(
    [f"{verb}_{noun}" for noun in ("cluster", "volume") for verb in ("create", "get", "update", "delete")]
    + ["list_clusters", "list_volumes", "list_regions"]
)
ANY_ROUTE = "*"
DIALECTS = ("tcloud", "compute")

#: Kinds that settle what the client gets. Of several, one request meets the first; the next waits for its turn.
OUTCOMES = ("status", "drop", "lose_answer", "reset", "malformed", "revoked_key")
#: Kinds that go together with all others.
MODIFIERS = ("latency", "status_word", "lag_list", "hide_cluster", "duplicate", "out_of_stock", "failed_life")
KINDS = OUTCOMES + MODIFIERS

#: Statuses of HTTP that may stand at the end of a request.
_STATUSES = range(200, 600)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """
    Something that goes wrong.

    :param route: the operation: ``create_cluster``, ``get_cluster``, ``list_clusters``, ``update_cluster``,
        ``delete_cluster``, the same of ``volume``, ``list_regions``, or ``*`` for all.
    :param kind: one of

        - ``status``: the status code ``status`` is answered, with ``body`` and ``headers``; nothing is done, or,
          with ``after_effect``, all is done;
        - ``drop``: the connection is closed, nothing is done;
        - ``lose_answer``: all is done, then the connection is closed without an answer;
        - ``reset``: all is done, then the connection is reset in the middle of the body;
        - ``malformed``: all is done, the body is not JSON;
        - ``revoked_key``: 401 whatever the key;
        - ``latency``: ``seconds`` (real ones) pass first, or with ``after_effect`` before the answer;
        - ``status_word``: ``word`` is shown as the status of ``cluster_id`` or all clusters; one that is gone is
          still answered for, so that an end can be made never to come;
        - ``lag_list``: a list shows what is new and what is gone ``seconds`` (simulated) too late;
        - ``hide_cluster``: a list misses ``cluster_id``, or all clusters;
        - ``duplicate``: one create makes two;
        - ``out_of_stock``: a create or a resize finds no GPUs;
        - ``failed_life``: the created cluster fails ``seconds`` (simulated) after its creation.

        It need not be given if ``status`` is.
    :param times: how many requests meet it; None for ever.
    :param dialect: only that of ``tcloud`` and ``compute``; None for both.
    :param seconds: see ``kind``.
    :param real_seconds: instead of ``seconds``, where those are simulated ones.
    :param lasts: simulated seconds after which it is over, whatever ``times`` says.
    :raises ValueError: naming what is wrong.
    """

    route: str = ANY_ROUTE
    kind: str = ""
    times: int | None = 1
    dialect: str | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    real_seconds: float | None = None
    word: str | None = None
    cluster_id: str | None = None
    after_effect: bool = False
    lasts: float | None = None

    def __post_init__(self) -> None:
        if not self.kind and self.status is not None:
            object.__setattr__(self, "kind", "status")
        _check_word("kind", self.kind, KINDS)
        _check_word("route", self.route, (*ROUTES, ANY_ROUTE))
        if self.dialect is not None:
            _check_word("dialect", self.dialect, DIALECTS)
        if self.times is not None and (not isinstance(self.times, int) or self.times < 1):
            _refuse("times", self.times, "give a number of requests, or null for ever")
        for name in ("seconds", "real_seconds", "lasts"):
            self._check_seconds(name)
        self._check_needs()

    @classmethod
    def parse(cls, body: Any) -> Fault:
        """
        Read a fault that another process sends as JSON.

        :raises ValueError: naming what is wrong.
        """
        known = [each.name for each in fields(cls)]
        if not isinstance(body, dict):
            _refuse("fault", body, "give a JSON object")
        for name in body:
            if name not in known:
                _refuse("fault", name, f"this field is unknown; fields: {', '.join(known)}")
        return cls(**body)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`parse` reads."""
        return asdict(self)

    def simulated_seconds(self, *, speed: float) -> float | None:
        """Return ``seconds``, or ``real_seconds`` at a speed of simulated seconds per real second."""
        return self.seconds if self.real_seconds is None else self.real_seconds * speed

    def _check_seconds(self, name: str) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < float("inf")):
            _refuse(name, value, "give a number of seconds that is not negative")

    def _check_needs(self) -> None:
        if self.kind == "status" and self.status not in _STATUSES:
            _refuse("status", self.status, f"give a status from {_STATUSES.start} to {_STATUSES.stop - 1}")
        if self.kind == "status_word" and not isinstance(self.word, str):
            _refuse("word", self.word, "give the word that kind='status_word' shows")
        if self.kind in ("latency", "lag_list") and self.seconds is None and self.real_seconds is None:
            _refuse("seconds", self.seconds, f"kind={self.kind!r} needs them")
        if not isinstance(self.headers, Mapping) or not all(isinstance(v, str) for v in self.headers.values()):
            _refuse("headers", self.headers, "give names and values that are strings")


@dataclass
class _Entry:
    fault: Fault
    left: int | None
    ends_at: float | None


class FaultBook:
    """
    The faults in force, in the order of their injection. Safe to use from several threads.

    :param now: gives the simulated time in epoch seconds.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    def inject(self, fault: Fault) -> None:
        """Put a fault in force."""
        ends_at = None if fault.lasts is None else self._now() + fault.lasts
        with self._lock:
            self._entries.append(_Entry(fault, fault.times, ends_at))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._entries.clear()

    def active(self) -> list[tuple[Fault, int | None]]:
        """Return the faults in force with the number of requests that are still to meet them."""
        with self._lock:
            self._drop_ended()
            return [(entry.fault, entry.left) for entry in self._entries]

    def take_outcome(self, route: str, dialect: str) -> Fault | None:
        """Return the first fault that settles what the client gets, and count it."""
        return next(iter(self._take(OUTCOMES, route, dialect, most=1)), None)

    def take(self, kind: str, route: str, dialect: str) -> list[Fault]:
        """Return all faults of a kind, and count them."""
        return self._take((kind,), route, dialect, most=None)

    def _take(self, kinds: Sequence[str], route: str, dialect: str, *, most: int | None) -> list[Fault]:
        with self._lock:
            self._drop_ended()
            met = [entry for entry in self._entries if _meets(entry.fault, kinds, route, dialect)][:most]
            for entry in met:
                if entry.left is not None:
                    entry.left -= 1
            return [entry.fault for entry in met]

    def _drop_ended(self) -> None:
        now = self._now()
        self._entries = [
            entry for entry in self._entries if entry.left != 0 and (entry.ends_at is None or now < entry.ends_at)
        ]


def _meets(fault: Fault, kinds: Sequence[str], route: str, dialect: str) -> bool:
    return fault.kind in kinds and fault.route in (ANY_ROUTE, route) and fault.dialect in (None, dialect)


def _check_word(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        _refuse(name, value, f"use one of {', '.join(allowed)}")


def _refuse(name: str, value: Any, remedy: str) -> None:
    message = f"{name}={value!r} is wrong: {remedy}"
    raise ValueError(message)
