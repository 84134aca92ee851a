"""What is due when, with entries that move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.waiting.agenda import Agenda
from tests.support.engine import FIXED


def test_the_earliest_comes_first_and_stays_until_it_is_taken_out() -> None:
    agenda = Agenda[str]()
    agenda.set("late", 9.0)
    agenda.set("early", 3.0)
    assert [agenda.first(), agenda.first()] == [(3.0, "early"), (3.0, "early")]
    agenda.discard("early")
    assert agenda.first() == (9.0, "late")


def test_an_empty_one_has_nothing_due() -> None:
    agenda = Agenda[str]()
    agenda.discard("nobody")
    assert agenda.first() is None
    assert "nobody" not in agenda


def test_what_was_taken_out_does_not_pile_up() -> None:
    agenda = Agenda[int]()
    for number in range(10_000):
        agenda.set(number, 1e9)
        agenda.set(-1, float(number))
        agenda.discard(number)
    assert (agenda.first(), agenda.held) == ((9999.0, -1), agenda.held)
    assert agenda.held < 100


@FIXED
@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.floats(0, 100, allow_nan=False))))
def test_it_is_a_dictionary_whose_least_value_is_known(moves: list[tuple[int, float | None]]) -> None:
    agenda, model = Agenda[int](), dict[int, float]()
    for key, time in moves:
        if time is None:
            agenda.discard(key)
            model.pop(key, None)
        else:
            agenda.set(key, time)
            model[key] = time
        first = agenda.first()
        assert [key in agenda for key in range(6)] == [key in model for key in range(6)]
        if first is None:
            assert model == {}
        else:
            assert first[0] == min(model.values()) == model[first[1]]
