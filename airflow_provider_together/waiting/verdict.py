"""
What a wait comes to, and what its user decides about it.

Kept apart from the waits, which come to it, since every DAG imports these words. It imports nothing of ours.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

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
