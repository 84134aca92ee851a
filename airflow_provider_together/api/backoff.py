"""How long to wait before something that has failed is tried again: the one formula for all that repeats or looks."""

from __future__ import annotations

#: Doublings after which a delay is beyond every longest one.
_MOST_DOUBLINGS = 16


def doubled(first: float, *, attempt: int, longest: float) -> float:
    """
    Return the delay after an attempt: it doubles with each, up to the longest.

    :param first: seconds after the first attempt.
    :param attempt: number of the attempt that failed, from 1.
    :param longest: seconds, at the most.
    """
    return min(longest, first * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
