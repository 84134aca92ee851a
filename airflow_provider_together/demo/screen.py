"""
Where the demo prints: plain lines anywhere, and on a terminal colours and one line that is refreshed.

Separate, since it alone knows about terminals. Colours follow the convention of the environment variable
``NO_COLOR``. It imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TextIO

_ERASE_LINE = "\r\x1b[2K"
_GREEN, _RED, _BLUE, _YELLOW = 32, 31, 34, 33
_COLOURS = {
    "success": _GREEN,
    "ready": _GREEN,
    "failed": _RED,
    "upstream_failed": _RED,
    "deferred": _BLUE,
    "running": _YELLOW,
    "deleting": _YELLOW,
}
_WORD = re.compile(rf"\b({'|'.join(_COLOURS)})\b", re.IGNORECASE)


class Screen:
    """
    Lines for people.

    :param stream: a terminal, a file, a pipe.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._is_coloured = self._is_terminal and not os.environ.get("NO_COLOR")

    def line(self, text: str = "") -> None:
        """Print a line, for good."""
        self._write(self._painted(text) + "\n")

    def status(self, text: str) -> None:
        """On a terminal, show a line until the next one is printed; elsewhere, nothing."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(self._painted(text[:width]))

    def _write(self, text: str) -> None:
        # Nobody may be looking any more, a closed terminal or pipe; there may still be something to give back.
        with contextlib.suppress(OSError):
            self._stream.write((_ERASE_LINE if self._is_terminal else "") + text)
            self._stream.flush()

    def _painted(self, text: str) -> str:
        if not self._is_coloured:
            return text
        return _WORD.sub(lambda match: f"\x1b[{_COLOURS[match[0].lower()]}m{match[0]}\x1b[0m", text)
