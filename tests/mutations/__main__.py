"""
``python -m tests.mutations [WORD …]``: take out each safeguard in turn (those whose names hold all the words).

Prints a line for each, and ends with 1 if one of them is missed by its tests.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.mutations.mutate import failing_baseline, prepared, unproved
from tests.mutations.safeguards import SAFEGUARDS, Safeguard


def main(words: list[str]) -> int:
    """Run, and return the exit status."""
    chosen = [safeguard for safeguard in SAFEGUARDS if all(word in safeguard.name for word in words)]
    with prepared() as base, ThreadPoolExecutor(2) as threads:
        if failing := failing_baseline(base=base):
            print(f"These fail with all safeguards in place: {', '.join(sorted(failing))}")  # noqa: T201
            return 1
        results = list(zip(chosen, threads.map(partial(_told, base=base), chosen), strict=True))
    missed = [safeguard.name for safeguard, is_proved in results if not is_proved]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} safeguards are proved.")  # noqa: T201
    return 1 if missed else 0


def _told(safeguard: Safeguard, *, base: Path) -> bool:
    blind = unproved(safeguard, base=base)
    print(f"{'MISSED by ' + ', '.join(blind) if blind else 'noticed'}: without {safeguard.name!r}", flush=True)  # noqa: T201
    return not blind


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
