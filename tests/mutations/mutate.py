"""
Takes each safeguard out of a copy of the package, and lets the tests that are named beside it run on that copy.

The checkout is never touched. A safeguard is proved if its tests pass on the package as it is, and if each of the
named files, or single tests, fails without it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutations.safeguards import SAFEGUARDS, Safeguard

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_together"
#: What the named tests need of the checkout.
_COPIED = (
    PACKAGE,
    "tests/__init__.py",
    "tests/api",
    "tests/conftest.py",
    "tests/histories",
    "tests/jobs",
    "tests/lifecycle",
    "tests/provider",
    "tests/support",
    "tests/truth",
    "tests/waiting",
    "pyproject.toml",
)
#: Seconds a named file or test after which a run is given up: without a safeguard a flow may never end.
_PATIENCE = 120.0


class MutationError(Exception):
    """A safeguard's entry does not fit the package, or its tests do not run at all."""


def unproved(safeguard: Safeguard, *, base: Path) -> list[str]:
    """
    Return the named tests that pass although the safeguard is gone.

    :param base: a prepared copy, see :func:`prepared`.
    :raises MutationError: if the tests do not run at all.
    """
    with tempfile.TemporaryDirectory(prefix="together-mutation-") as folder:
        root = Path(folder) / "copy"
        shutil.copytree(base, root)  # times of files included, so that what is compiled already stays valid
        (root / PACKAGE / safeguard.module).write_text(without(safeguard), encoding="utf-8")
        failed = failing(root, safeguard.tests)
    return [name for name in safeguard.tests if name not in failed]


def without(safeguard: Safeguard) -> str:
    """
    Return the module's text without the safeguard.

    :raises MutationError: if its old text does not occur exactly once.
    """
    text = (ROOT / PACKAGE / safeguard.module).read_text(encoding="utf-8")
    count = text.count(safeguard.old)
    if count != 1:
        message = f"{safeguard.name!r}: its old text occurs {count} times in {safeguard.module}, not once"
        raise MutationError(message)
    return text.replace(safeguard.old, safeguard.new)


def failing_baseline(*, base: Path) -> set[str]:
    """Print what fails on the package as it is, and return those of the named tests that do."""
    return failing(base, sorted({name for safeguard in SAFEGUARDS for name in safeguard.tests}), is_told=True)


def failing(root: Path, names: Iterable[str], *, is_told: bool = False) -> set[str]:
    """
    Run tests below a root, and return those that fail.

    :param names: of files, each of which fails with any of its tests, or of single tests.
    :param is_told: whether what pytest says of a failure is printed: of one that nobody wanted.
    :raises MutationError: if they do not run at all.
    """
    names = list(names)
    way = ["--exitfirst"] if len(names) == 1 else ["-n", "2"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rfE",
        f"--tb={'short' if is_told else 'no'}",
        "-p",
        "no:cacheprovider",
        *way,
        *names,
    ]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    patience = _PATIENCE * len(names)
    try:
        run = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return set(names)  # a flow that never ends is noticed, too
    if run.returncode not in {0, 1}:
        message = f"the tests do not run: {run.stdout}{run.stderr}"
        raise MutationError(message)
    if is_told and run.returncode:
        print(run.stdout)  # noqa: T201
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return {name for name in names if any(f"{test}[".startswith((f"{name}[", f"{name}:")) for test in failed)}


@contextmanager
def prepared() -> Iterator[Path]:
    """Lend a copy of the package and of the tests that are needed."""
    with tempfile.TemporaryDirectory(prefix="together-mutations-") as folder:
        root = Path(folder)
        for name in _COPIED:
            source, target = ROOT / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        yield root
