"""
Small things about Kubernetes objects, which are plain dicts here: times, quantities, conditions, owners, copies.

Pure functions, apart from the clock and chance. It imports nothing of ours.
"""

from __future__ import annotations

import copy
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Object = dict[str, Any]

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d+)?")
_SCALES = {"": Decimal(1), "m": Decimal("0.001")}
_SCALES |= {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_SCALES |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}


def time_text(moment: float | None = None) -> str:
    """Return epoch seconds, by default the present, as Kubernetes writes them."""
    return f"{datetime.fromtimestamp(time.time() if moment is None else moment, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"


def quantity(value: Any) -> Decimal:
    """
    Return what a quantity such as ``500m`` or ``2Gi`` amounts to.

    :raises ValueError: if it is none.
    """
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        message = f"{value!r} is no quantity"
        raise ValueError(message)
    number, suffix = Decimal(match[1]), match[2] or ""
    return number * _SCALES[suffix] if suffix in _SCALES else Decimal(f"{match[1]}{suffix}")


def meta(thing: Object) -> Object:
    """Return the metadata of an object."""
    metadata: Object = thing["metadata"]
    return metadata


def clone(thing: Object) -> Object:
    """Return a deep copy."""
    return copy.deepcopy(thing)


def find(thing: Any, path: str) -> Any:
    """Return what is at a path of field names with dots between them, or None."""
    for part in path.split("."):
        thing = thing.get(part) if isinstance(thing, dict) else None
    return thing


def set_condition(status: Object, kind: str, value: str, *, reason: str = "", message: str = "") -> None:
    """Put a condition into a status; its time of transition changes only if its value does."""
    conditions: list[Object] = status.setdefault("conditions", [])
    old = next((condition for condition in conditions if condition["type"] == kind), None)
    now = time_text()
    same = old is not None and old["status"] == value
    new = {
        "type": kind,
        "status": value,
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else now,
    }
    new |= {name: text for name, text in (("reason", reason), ("message", message)) if text}
    if old is None:
        conditions.append(new)
    else:
        conditions[conditions.index(old)] = new
