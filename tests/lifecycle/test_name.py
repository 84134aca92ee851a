"""Names that say whose a cluster is and when its life ends."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.lifecycle.name import ClusterName, Owner, deployment_id
from tests.support.engine import FIXED

NOW = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
DAY = timedelta(days=1)
OWNER = Owner("airflow", "train_nightly", "scheduled__2026-01-31T00:00:00+00:00", "create_cluster")

deployments = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)
owners = st.builds(Owner, deployments, st.text(), st.text(), st.text(), st.integers(min_value=-1, max_value=10**9))
moments = st.datetimes(datetime(2000, 1, 1), datetime(9000, 1, 1), timezones=st.timezones())  # noqa: DTZ001
lifetimes = st.none() | st.timedeltas(timedelta(0), timedelta(days=365))


def test_a_name_reads_like_its_task() -> None:
    name = str(ClusterName.of(OWNER, now=NOW, lifetime=DAY))
    assert re.fullmatch(r"af-airflow-train-night-create-clust-[a-z2-7]{12}-20260201t1530z", name), name


def test_a_name_without_an_end_says_so() -> None:
    assert str(ClusterName.of(OWNER, now=NOW)).endswith("-open")


def test_a_mapped_task_has_its_index_in_the_name() -> None:
    assert "-17-" in str(ClusterName.of(replace(OWNER, map_index=17), now=NOW, lifetime=DAY))


@FIXED
@given(owners, moments, lifetimes)
@example(Owner("a" * 12, "d" * 250, "r", "t" * 250, 10**9), NOW, DAY)
@example(Owner("a", "", "", "", -1), NOW, None)
@example(Owner("a", "---", "r", "-", 0), NOW, None)
def test_any_owner_gets_a_label_of_dns_that_parses_back(
    owner: Owner, now: datetime, lifetime: timedelta | None
) -> None:
    name = ClusterName.of(owner, now=now, lifetime=lifetime)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]", str(name))
    assert "--" not in str(name)
    assert ClusterName.parse(str(name)) == name
    assert name.is_of(owner)


@FIXED
@given(owners, moments, st.timedeltas(timedelta(0), timedelta(days=365)))
def test_the_end_of_life_is_rounded_up_to_the_minute(owner: Owner, now: datetime, lifetime: timedelta) -> None:
    name = ClusterName.parse(str(ClusterName.of(owner, now=now, lifetime=lifetime)))
    assert name is not None
    assert name.end_of_life is not None
    assert timedelta(0) <= name.end_of_life - (now.astimezone(UTC) + lifetime) < timedelta(minutes=1)


@FIXED
@given(owners, moments, moments, lifetimes)
def test_all_tries_of_an_owner_find_each_others_clusters(
    owner: Owner, first: datetime, second: datetime, lifetime: timedelta | None
) -> None:
    names = [ClusterName.of(owner, now=now, lifetime=lifetime) for now in (first, second)]
    assert names[0].owner_digest == names[1].owner_digest
    assert all(name.is_of(owner) for name in names)
    assert names[0].has_owner_of(str(names[1]))


@FIXED
@given(owners, owners)
def test_two_owners_never_take_each_others_clusters(one: Owner, other: Owner) -> None:
    assert ClusterName.of(one, now=NOW).is_of(other) == (one == other)
    assert ClusterName.of(one, now=NOW).has_owner_of(str(ClusterName.of(other, now=NOW))) == (one == other)


@pytest.mark.parametrize("other", ["", "mine", "af-not-one-of-ours"])
def test_a_name_that_is_not_one_of_ours_has_nobodys_owner(other: str) -> None:
    assert not ClusterName.of(Owner("d", "dag", "run", "task"), now=NOW).has_owner_of(other)


@pytest.mark.parametrize(
    "changed",
    [
        {"deployment": "other"},
        {"dag_id": "train_nightly2"},
        {"run_id": "manual__1"},
        {"task_id": "create"},
        {"map_index": 0},
        {"dag_id": "train_nightlyscheduled__", "run_id": "2026-01-31T00:00:00+00:00"},
    ],
)
def test_each_part_of_an_owner_counts(changed: dict[str, str]) -> None:
    other = Owner(**{**{name: getattr(OWNER, name) for name in Owner.__slots__}, **changed})
    assert not ClusterName.of(OWNER, now=NOW).is_of(other)


@FIXED
@given(
    st.text()
    | st.from_regex(r"\Aaf-[a-z0-9]{1,12}-[a-z0-9-]{0,40}-[a-z2-7]{12}-([0-9]{8}t[0-9]{4}z|open)\Z")
    | st.from_regex(r"\Aaf-[a-z0-9-]{0,70}(open|[0-9]{8}t[0-9]{4}z)\n?\Z")
)
def test_any_text_is_no_name_of_ours_or_prints_back_the_same(text: str) -> None:
    name = ClusterName.parse(text)
    assert name is None or (str(name) == text and len(text) <= 63)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "AF-airflow-train-abcdefghijkl-open",
        "af-airflow-train-abcdefghijkl-open\n",
        "af-airflow-train-abcdefghijkl-20261301t0000z",
        "af-airflow-train-abcdefghijkl-00000101t0000z",
        "af-airflow-train-abcdefghijk1-open",
        "af-airflow-trainabcdefghijkl-open",
        "af-airflow--abcdefghijkl-open",
        "af-a-" + "x" * 50 + "-abcdefghijkl-open",
        "af-airflow-train-abcdefghijkl-\N{ARABIC-INDIC DIGIT TWO}0260131t1530z",
    ],
)
def test_a_name_that_we_would_not_make_is_not_ours(text: str) -> None:
    assert ClusterName.parse(text) is None


def test_the_end_is_told_in_utc() -> None:
    name = ClusterName.of(OWNER, now=NOW.astimezone(timezone(timedelta(hours=5, minutes=30))), lifetime=DAY)
    assert name.end_of_life == NOW + DAY


@pytest.mark.parametrize("text", ["a", "airflow", "team7prod", "012345678901"])
def test_a_short_lower_case_word_is_a_deployment(text: str) -> None:
    assert deployment_id(text) == text


@pytest.mark.parametrize("text", ["", "Prod", "team-7", "a" * 13, "é", "a\n", "\N{ARABIC-INDIC DIGIT THREE}"])
def test_other_deployments_are_refused_by_name_and_value(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"deployment=.* 1 to 12 characters"):
        deployment_id(text)


def test_a_name_whose_deployment_was_changed_is_not_ours() -> None:
    assert not replace(ClusterName.of(OWNER, now=NOW), deployment="other").is_of(OWNER)


def test_a_name_with_a_wrong_deployment_is_never_made() -> None:
    with pytest.raises(ConfigurationError):
        ClusterName.of(replace(OWNER, deployment="Prod"), now=NOW)
