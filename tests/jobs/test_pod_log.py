"""A log that is read in pieces loses no line and tells none twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.jobs.kubernetes.log import FIRST_LIMIT, LARGEST_LIMIT, LogCursor

START = datetime(2026, 1, 1, tzinfo=UTC)


def stamped(offset_ms: int, text: str) -> str:
    moment = START + timedelta(milliseconds=offset_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000:09d}Z {text}"


class Server:
    """Answers as Kubernetes does: from a whole second on, at most so many bytes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def read(self, cursor: LogCursor) -> bytes:
        since = "" if cursor.since is None else cursor.since.removesuffix("Z")
        content = "".join(f"{line}\n" for line in self.lines if line >= since).encode()
        return content[: cursor.limit]


def test_the_beginning_is_read_without_a_time() -> None:
    cursor = LogCursor()
    assert cursor.since is None
    assert cursor.take_piece(stamped(0, "hello").encode()) == ["hello"]
    assert cursor.since == "2026-01-01T00:00:00Z"


def test_lines_of_one_moment_are_told_apart() -> None:
    server, cursor = Server(), LogCursor()
    server.lines = [stamped(5, "a"), stamped(5, "b")]
    assert cursor.take_piece(server.read(cursor)) == ["a", "b"]
    assert cursor.take_piece(server.read(cursor)) == []
    server.lines += [stamped(5, "b"), stamped(5, "c")]
    assert cursor.take_piece(server.read(cursor)) == ["b", "c"]
    server.lines += [stamped(6, "d")]
    assert cursor.take_piece(server.read(cursor)) == ["d"]


def test_a_line_without_a_time_belongs_to_the_one_before() -> None:
    cursor = LogCursor()
    content = f"{stamped(5, 'a')}\nrest of a".encode()
    assert cursor.take_piece(content) == ["a", "rest of a"]
    assert cursor.take_piece(content) == []


def test_a_time_without_a_fraction_or_in_another_zone_is_read_as_well() -> None:
    cursor = LogCursor()
    assert cursor.take_piece(b"2026-01-01T00:00:01Z a\n2026-01-01T01:00:02.5+01:00 b\n") == ["a", "b"]
    assert (cursor.since, cursor.nanosecond) == ("2026-01-01T00:00:02Z", 500_000_000)


def test_what_is_no_text_is_shown_as_well_as_it_can_be() -> None:
    assert LogCursor().take_piece(stamped(0, "").encode() + b"\xff") == ["�"]


def test_a_line_that_is_cut_off_is_read_by_the_next_piece() -> None:
    server, cursor = Server(), LogCursor(limit=100)
    server.lines = [stamped(0, "a" * 40), stamped(1000, "b" * 40)]
    assert cursor.take_piece(server.read(cursor)) == ["a" * 40]
    assert cursor.take_piece(server.read(cursor)) == ["b" * 40]


def test_a_line_that_fills_a_piece_is_cut_and_passed() -> None:
    server, cursor = Server(), LogCursor(limit=100)
    server.lines = [stamped(0, "a" * 200), stamped(1000, "b")]
    (line,) = cursor.take_piece(server.read(cursor))
    assert set(line) == {"a"}
    assert cursor.take_piece(server.read(cursor))[-1] == "b"


def test_a_second_with_more_lines_than_a_piece_holds_is_read_by_larger_pieces() -> None:
    server, cursor = Server(), LogCursor()
    server.lines = [stamped(number % 1000, "x" * 500) for number in range(1000)] + [stamped(2000, "end")]
    server.lines.sort()
    lines: list[str] = []
    limits = []
    for _ in range(10):
        limits.append(cursor.limit)
        lines += cursor.take_piece(server.read(cursor))
    assert (len(lines), lines[-1]) == (1001, "end")
    assert max(limits) > FIRST_LIMIT
    assert cursor.limit == FIRST_LIMIT


def test_pieces_do_not_grow_beyond_all_measure() -> None:
    cursor = LogCursor(limit=LARGEST_LIMIT)
    cursor.take_piece(b"")
    assert cursor.limit == FIRST_LIMIT
    known = f"{stamped(0, 'a')}\n".encode()
    cursor = LogCursor()
    cursor.take_piece(known)
    cursor.limit = 10
    for _ in range(30):
        cursor.take_piece(known + b"x" * max(0, min(cursor.limit, 100) - len(known)))
        if cursor.limit == FIRST_LIMIT:
            break
    assert cursor.limit <= LARGEST_LIMIT


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 4)), max_size=30))
def test_however_a_log_grows_each_line_is_told_once(growth: list[tuple[int, int]]) -> None:
    server, cursor = Server(), LogCursor(limit=10**6)
    told: list[str] = []
    now = 0
    for number, (step, lines) in enumerate(growth):
        now += step
        server.lines += [stamped(now, f"{number}.{line}") for line in range(lines)]
        told += cursor.take_piece(server.read(cursor))
    assert told == [line.partition(" ")[2] for line in server.lines]
