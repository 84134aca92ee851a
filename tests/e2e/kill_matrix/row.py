"""
A row of the kill matrix as a value, and the decorator that makes one of a function.

The function is the row's script: what happens, told step by step. It is a generator, so that many scripts run side by
side: it yields what it waits for and goes on when that is true. It imports nothing that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

#: Of a run whose end is not ours to tell: Airflow lets the last leaf decide, also after the user has.
ANY = "any"
#: The connection of all rows that need no fault.
COMMON_CONNECTION = "together_common"


@dataclass(frozen=True)
class Until:
    """
    What a script waits for.

    :param what: for the message if it never comes.
    :param is_true: asked again and again, each time with a fresh picture of Airflow.
    :param outlasts_run: whether it may come true long after the run has failed.
    """

    what: str
    is_true: Callable[[], bool]
    outlasts_run: bool = False


Script = Generator[Until, None, None]


@dataclass(frozen=True)
class Expected:
    """
    What must be observed.

    :param settled: clusters alive when Airflow has settled.
    :param swept: clusters alive after one sweep.
    :param made: clusters that were ever made.
    :param run: how the run ends, or :data:`ANY`.
    """

    settled: int
    swept: int = 0
    made: int = 1
    run: str = "success"


@dataclass(frozen=True)
class Row:
    """
    One row.

    :param key: also the id of its DAG.
    :param sentence: what happens.
    :param shape: its DAG.
    :param expected: what must be observed.
    :param script: what is done.
    :param has_cloud: whether it has an emulator of its own, since faults strike all clusters of one.
    :param extra: fields of its connection's extra, if it has one of its own.
    :param before: is done before its run is started.
    :param gets_ready: whether its clusters get READY by themselves.
    """

    key: str
    sentence: str
    shape: Shape
    expected: Expected
    script: Callable[[Scene], Script] = field(repr=False)
    has_cloud: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Scene], None] | None = None
    gets_ready: bool = False

    @property
    def conn_id(self) -> str:
        """The id of the connection that its DAG uses."""
        return f"together_{self.key}" if self.has_cloud else COMMON_CONNECTION


def row(
    sentence: str, *, shape: Shape, expected: Expected, has_cloud: bool = False, **options: Any
) -> Callable[[Callable[[Scene], Script]], Row]:
    """Make a row of a script; the name of the function becomes its key."""

    def make(script: Callable[[Scene], Script]) -> Row:
        return Row(script.__name__, sentence, shape, expected, script, has_cloud, **options)

    return make
