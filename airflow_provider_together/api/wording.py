"""
How texts for people are put together: other people's words without what could forge a line, counts, likely slips.

It imports nothing of the package.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

#: Invisible, but words of Persian and of Indian languages, and some emojis, are others without them.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def printable(text: str) -> str:
    """Return other people's text without controls, escapes and changes of direction, which could forge a line."""
    if text.isprintable():
        return text
    return "".join(letter if _is_harmless(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def as_sentence(text: object) -> str:
    """Return a text with one full stop at its end, whether it has one already or not."""
    return f"{str(text).rstrip('.')}."


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 cluster``, ``2 clusters``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known word that is probably meant, as a remark behind the wrong one; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def duration(seconds: float) -> str:
    """Return a duration for people: ``45 s``, ``12 min 30 s``, ``3 h 5 min``."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute} min"
    return f"{minutes} min {second} s" if minutes else f"{second} s"
