"""
Operations as values: what one request is, and what a flow of several may ask its driver for.

A :class:`Call` says what to send, how to read the answer and whether it may be sent twice; it sends
nothing. A flow is a generator of steps; ``cluster = yield from dialect.get_cluster(cluster_id)`` is
one step, and reads the same whether a sync or an async driver runs it. This module imports nothing of
the package but its exceptions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

from airflow_provider_together.exceptions import SpecError

T = TypeVar("T")
U = TypeVar("U")


def from_json(content: bytes) -> Any:
    """
    Return what JSON says.

    :raises ValueError: if it is not JSON, as an empty body is not: it says nothing, not even that there is nothing.
    """
    return json.loads(content)


def from_json_or_nothing(content: bytes) -> Any:
    """Return what JSON says, where an empty body means that what was asked for is done, as ``{}`` does."""
    return json.loads(content) if content.strip() else {}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One request.

    :param what: the operation in words, for messages: ``create GPU cluster 'x'``.
    :param method: HTTP method.
    :param path: path below the base URL, already quoted.
    :param read: turns the decoded body of a good answer into the result.
    :param decode: decodes that body; raises ValueError if it is no JSON.
    :param params: query parameters.
    :param body: JSON body.
    :param is_repeatable: whether sending it twice does no more than sending it once.
    :param attempts: how often to try at the most; None leaves it to the connection.
    :param note: a sentence on what the dialect has added to what was asked for; empty for nothing.
    """

    what: str
    method: str
    path: str
    read: Callable[[Any], T]
    decode: Callable[[bytes], Any] = from_json
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    is_repeatable: bool = True
    attempts: int | None = None
    note: str = ""

    def once(self) -> Call[T]:
        """Return the same call without automatic repetition, for those who poll anyway."""
        return replace(self, attempts=1)

    def reading(self, decode: Callable[[bytes], Any], read: Callable[[Any], U]) -> Call[U]:
        """Return the same request with another way to read its answer."""
        call: Call[Any] = self
        return replace(call, decode=decode, read=read)

    def __iter__(self) -> Flow[T]:
        """Let a flow ask for the result: ``result = yield from call``."""
        result: T = yield self
        return result


@dataclass(frozen=True, slots=True)
class Pause:
    """Let ``seconds`` pass; the driver answers with the time after it, in epoch seconds."""

    seconds: float

    def __iter__(self) -> Flow[float]:
        now: float = yield self
        return now


@dataclass(frozen=True, slots=True)
class Note:
    """
    Something that the caller may want to log before the flow goes on.

    :param message: a sentence.
    """

    message: str

    def __iter__(self) -> Flow[None]:
        yield self


@dataclass(frozen=True, slots=True)
class Alert(Note):
    """A note that a person should see: it is logged as a warning."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """
    A question to somebody else than Together: the memory of an owner, or Airflow.

    It is a step, so that whoever drives the flow decides what may happen before and after it.

    :param answer: answers it; may take time, and what it raises ends the flow.
    """

    answer: Callable[[], T]

    def __iter__(self) -> Flow[T]:
        answer: T = yield self
        return answer


@dataclass(frozen=True, slots=True)
class Save(Ask[None]):
    """
    Something to be stored before the flow goes on, and before anybody may end it.

    :param message: a sentence for the log, which is told before it is stored.
    """

    message: str = ""


Step: TypeAlias = "Call[Any] | Pause | Note | Ask[Any]"
Flow: TypeAlias = "Generator[Step, Any, T]"


def quoted(name: str, value: str) -> str:
    """
    Return an id as one segment of a path.

    :raises SpecError: if it is blank or would change the path.
    """
    if not isinstance(value, str) or not value.strip() or value in {".", ".."}:
        raise SpecError([f"{name}={value!r} is no id: give the id that the create answered"])
    return quote(value, safe="")
