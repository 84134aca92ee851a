"""
Reading what a trigger has fired: one event of ids and words, never an answer of Together, which holds a kubeconfig.

All triggers fire one dictionary with ``cluster_id`` in it, and what their kind of wait adds. A task may go on with an
event of an earlier version of this package, so that a field which was added later has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def text(value: Any) -> str:
    """Return a text as it is."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def read_event(
    event: Any,
    fields: Mapping[str, Callable[[Any], Any]],
    *,
    defaults: Mapping[str, Any] | None = None,
    cluster_id: str | None = None,
) -> dict[str, Any]:
    """
    Return the fields of an event, each as its reader reads it.

    :param fields: reader by name; one that raises TypeError or ValueError refuses the event.
    :param defaults: of fields that an earlier version did not fire.
    :param cluster_id: the cluster that the task is about, if it knows.
    :raises ValueError: if it is no event that this task understands, or of another cluster.
    """
    try:
        found = {**(defaults or {}), **event}
        values = {name: read(found[name]) for name, read in fields.items()}
    except (TypeError, KeyError, ValueError):
        message = f"the trigger's event is not what this operator understands: {event!r}"
        raise ValueError(message) from None
    if cluster_id is not None and found.get("cluster_id", cluster_id) != cluster_id:
        message = f"the trigger's event is about cluster {found['cluster_id']!r}, not {cluster_id!r}"
        raise ValueError(message)
    return values
