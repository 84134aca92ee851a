"""What is paid for whether or not it is used, and what no create and no sweep deletes for that reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_together.api.call import Alert
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import ClusterFailedError, NotFoundError
from airflow_provider_together.lifecycle.create import create_or_adopt
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.orphans import Fate, Standing, sweep
from airflow_provider_together.lifecycle.owner import Creation, Identity, Record
from airflow_provider_together.lifecycle.reservation import Reservation, reservation_of
from tests.lifecycle.test_create import NOW, OUR_IDENTITY, OUR_SPEC, OURS, OWNER
from tests.lifecycle.test_orphans import ENDED, OPEN, OTHERS, OVER, cloud_of
from tests.support.driving import Script
from tests.support.engine import cluster_with

DAY = 86400.0
START = NOW.timestamp()
LATER = (NOW + timedelta(days=7)).isoformat()
PAID = Reservation("RESERVED", None, START + 7 * DAY)
ASKS = replace(OUR_IDENTITY, reservation=PAID)
PAID_RECORD = Record(billing_type="RESERVED", ends=START + 7 * DAY)
NOT_FOUND = NotFoundError("no such cluster.", status=404)


def asked(**values: Any) -> Reservation | None:
    return Reservation.asked_for({"billing_type": "RESERVED", **values}, now=START)


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ({"duration_days": 7}, START + 7 * DAY),
        ({"duration_days": "7"}, START + 7 * DAY),
        ({"duration_days": 7, "reservation_end_time": NOW + timedelta(days=2)}, START + 2 * DAY),
        ({"reservation_end_time": LATER}, START + 7 * DAY),
        ({"duration_days": 1, "reservation_start_time": LATER}, START + 8 * DAY),
        ({"duration_days": "{{ days }}"}, None),
        ({"reservation_end_time": "soon"}, None),
        ({"reservation_end_time": datetime(2030, 1, 1)}, None),  # noqa: DTZ001 - that is the mistake
        ({}, None),
    ],
)
def test_the_end_of_what_is_asked_for_is_its_end_time_or_else_its_duration(
    values: dict[str, Any], ends: float | None
) -> None:
    paid = asked(**values)
    assert paid is not None
    assert paid.ends == ends


@pytest.mark.parametrize("billing_type", ["ON_DEMAND", "{{ billing }}", None])
def test_what_is_not_known_to_be_prepaid_is_no_reservation(billing_type: str | None) -> None:
    assert asked(billing_type=billing_type, duration_days=7) is None


def test_a_wait_begins_with_the_capacity_and_never_before_it_is_asked_for() -> None:
    assert PAID.wait_begins(START) == START
    assert replace(PAID, starts=START + DAY).wait_begins(START) == START + DAY
    assert replace(PAID, starts=START - DAY).wait_begins(START) == START


def test_a_time_that_nobody_knows_is_not_over() -> None:
    assert Reservation("RESERVED").is_paid(START)
    assert PAID.is_paid(START + 7 * DAY - 1)
    assert not PAID.is_paid(START + 7 * DAY)


def test_it_says_when_it_starts_and_until_when_it_is_paid() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    paid = Reservation("SCHEDULED_CAPACITY", moment, moment + DAY)
    assert str(paid) == "SCHEDULED_CAPACITY, starts at 2030-01-01 00:00 UTC, paid until 2030-01-02 00:00 UTC"
    assert str(Reservation("RESERVED")) == "RESERVED, paid until an unknown time"


def test_the_answer_goes_before_what_its_owner_asked_for() -> None:
    told = cluster_with(billing_type="SCHEDULED_CAPACITY", reservation_start_time=LATER, reservation_end_time=LATER)
    assert reservation_of(told, PAID) == Reservation("SCHEDULED_CAPACITY", START + 7 * DAY, START + 7 * DAY)
    assert reservation_of(cluster_with(billing_type="ON_DEMAND"), PAID) is None
    assert reservation_of(cluster_with()) is None


@pytest.mark.parametrize("word", ["", "PREPAID_OF_SOME_KIND"])
def test_where_the_answer_says_nothing_what_its_owner_asked_for_counts(word: str) -> None:
    assert reservation_of(cluster_with(billing_type=word), PAID) == PAID
    named = cluster_with(cluster_name=OPEN)
    assert reservation_of(named, Reservation("RESERVED")) == Reservation("RESERVED")


def test_of_several_ends_the_latest_counts() -> None:
    name = str(ClusterName.of(OWNER, now=NOW, lifetime=timedelta(days=9)))
    named = cluster_with(cluster_name=name, billing_type="RESERVED")
    assert reservation_of(named, PAID) == Reservation("RESERVED", None, START + 9 * DAY)
    lasting = cluster_with(billing_type="RESERVED", created_at=NOW.isoformat(), duration_hours=48)
    assert reservation_of(lasting) == Reservation("RESERVED", None, START + 2 * DAY)


def create(dialect: Dialect, script: Script, identity: Identity = ASKS, **options: Any) -> Creation:
    flow = create_or_adopt(dialect, OUR_SPEC, identity, script, if_exists="adopt", visibility=1.0, **options)
    return script.drive(flow)


def deletions(script: Script) -> int:
    return script.requests.count("DELETE")


FAILED = cluster_with("c-1", cluster_name=OURS, status="FAILED")


@pytest.mark.parametrize("answers", [[[FAILED]], [[], FAILED]], ids=["in the list", "by its id"])
def test_a_reservation_that_has_failed_is_neither_deleted_nor_replaced(dialect: Dialect, answers: list[Any]) -> None:
    script = Script(answers, record=replace(PAID_RECORD, cluster_id="c-1"), now=START)
    with pytest.raises(ClusterFailedError, match="paid until"):
        create(dialect, script)
    assert set(script.requests) == {"GET"}


def test_one_that_has_failed_is_replaced_where_the_user_says_so(dialect: Dialect) -> None:
    made = cluster_with("c-2", cluster_name=OURS)
    script = Script([[FAILED], None, made, [made]], record=replace(PAID_RECORD), now=START)
    creation = create(dialect, script, replace(ASKS, deletes_reserved=True))
    assert creation == Creation(made, is_ours=True)
    assert deletions(script) == 1


def test_a_live_one_goes_before_one_that_has_failed(dialect: Dialect) -> None:
    alive = cluster_with("c-2", cluster_name=OURS)
    script = Script([[FAILED, alive], alive], now=START)
    assert create(dialect, script).cluster == alive
    assert deletions(script) == 0


def test_a_second_reservation_of_one_owner_is_left_alive_and_loudly_told(dialect: Dialect) -> None:
    one, other = (cluster_with(f"c-{number}", cluster_name=OURS) for number in (1, 2))
    script = Script([[one, other], [one, other], one], now=START)
    assert create(dialect, script).cluster == one
    assert deletions(script) == 0
    (alert,) = [note for note in script.notes if isinstance(note, Alert)]
    assert "c-2" in alert.message
    assert "BOUGHT TWICE" in alert.message


def test_a_failed_reservation_of_another_try_is_no_reason_to_give_up_ones_own(dialect: Dialect) -> None:
    made = cluster_with("c-2", cluster_name=OURS)

    class Rival(Script):
        def _answer(self, step: Any, left: list[Any]) -> Any:
            answer = super()._answer(step, left)
            if answer is made and len(self.requests) == 2:
                self.record = replace(PAID_RECORD, cluster_id="c-1", cluster_name=OURS)
            return answer

    script = Rival([[], made, FAILED, [made]], now=START)
    assert create(dialect, script).cluster == made
    assert deletions(script) == 0


def test_what_is_paid_for_is_recorded_before_it_is_asked_for(dialect: Dialect) -> None:
    script = Script([[], NOT_FOUND], now=START)
    with pytest.raises(NotFoundError):
        create(dialect, script)
    assert script.record.reservation == PAID


@pytest.mark.parametrize("identity", [OUR_IDENTITY, Identity()], ids=["its owner", "another one"])
def test_no_create_deletes_a_reservation_that_was_extended_beyond_its_name(
    dialect: Dialect, identity: Identity
) -> None:
    extended = cluster_with("c-1", cluster_name=ENDED, billing_type="RESERVED", reservation_end_time=LATER)
    script = Script([[extended], extended], now=START)
    create(dialect, script, identity, heal=OWNER.deployment)
    assert deletions(script) == 0


RESERVED = {"billing_type": "RESERVED", "reservation_end_time": LATER}
OWNER_PAID = replace(OVER, reservation=PAID)


@pytest.mark.parametrize(
    ("name", "standing", "told"),
    [(OURS, OVER, RESERVED), (ENDED, None, RESERVED), (OURS, OWNER_PAID, {}), (OPEN, OWNER_PAID, {})],
    ids=["told by the answer", "extended", "told by its owner", "without an end"],
)
def test_a_sweep_spares_what_is_paid_for(
    dialect: Dialect, name: str, standing: Standing | None, told: dict[str, Any]
) -> None:
    cloud = cloud_of(name, standing, cluster=told)
    (finding,) = cloud.swept(dialect)
    assert finding.fate is Fate.SPARED
    assert "paid until" in finding.why
    assert cloud.deleted == []


@pytest.mark.parametrize(
    ("standing", "delete_reserved"),
    [(OWNER_PAID, True), (replace(OWNER_PAID, deletes_reserved=True), False)],
    ids=["by the sweep", "by the create"],
)
def test_a_sweep_deletes_it_where_the_user_says_so(dialect: Dialect, standing: Standing, delete_reserved: bool) -> None:
    cloud = cloud_of(OURS, standing)
    flow = sweep(
        dialect,
        cloud.standing_of,
        deployment=OWNER.deployment,
        delete=True,
        timeout=60,
        poll_interval=5,
        delete_reserved=delete_reserved,
    )
    assert [finding.fate for finding in cloud.drive(flow)] == [Fate.DELETED]


def test_a_sweep_deletes_one_whose_time_is_over(dialect: Dialect) -> None:
    over = {"billing_type": "RESERVED", "reservation_end_time": NOW.isoformat()}
    assert [finding.fate for finding in cloud_of(OTHERS, OVER, cluster=over).swept(dialect)] == [Fate.DELETED]
