"""
Text that means something inside a container, turned into what means the same outside.

Containers here have no file systems and no network of their own. So the paths of their mounts are replaced by real
folders, in everything that they are told. A program that has a path
compiled in escapes this. Pure functions; it imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

Rewrite = Callable[[str], str]

#: A path does not begin in the middle of a longer one, nor end within a name.
_BEFORE, _AFTER = r"(?<![\w.-])", r"(?![\w-])(?!\.\w)"
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")


def path_rewriter(paths: Mapping[str, Path]) -> Rewrite:
    """
    Return what replaces paths inside a container by real ones.

    :param paths: path inside the container to the real one; of two that fit the longer is taken.
    """
    return _replacer({path.rstrip("/"): str(real) for path, real in paths.items() if path.rstrip("/")})


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: what is unknown stays, ``$$`` is a dollar."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _VARIABLE.sub(value, text)


def _replacer(replacements: Mapping[str, str]) -> Rewrite:
    if not replacements:
        return str
    longest_first = sorted(replacements, key=len, reverse=True)
    pattern = re.compile(f"{_BEFORE}({'|'.join(re.escape(text) for text in longest_first)}){_AFTER}")
    # In one go, so that what has been put in is not replaced again.
    return lambda text: pattern.sub(lambda match: replacements[match[1]], text)
