"""The option that writes the table into the evidence page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.truth.page import Table

_OPTION = "--write-truth"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; it is known where this folder is named on the command line."""
    parser.addoption(_OPTION, action="store_true", help="write what was seen into docs/evidence.md")


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    """What the rows came to, to be written, or compared at the end."""
    seen = Table()
    yield seen
    if pytestconfig.getoption(_OPTION, default=False):
        seen.write()
