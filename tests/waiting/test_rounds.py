"""One question at a time for all: what is asked when, who hears of it, and that nobody is lost. Time is a number."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransientError,
)
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.waiting.end_of_life import NEAR_END_SECONDS
from airflow_provider_together.waiting.patience import LONGEST_BACK_OFF
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.engine import FIXED, dialect_named
from tests.support.timeline import START, Fault, Timeline

BUSY = ServerError("503.", status=503)


@pytest.fixture
def cloud(dialect: Dialect) -> Timeline:
    return Timeline(dialect)


def watch_many(cloud: Timeline, number: int, **wait: Any) -> list[Any]:
    return [cloud.watch(f"c-{one}", **wait) for one in range(number)]


class TestWhatIsAsked:
    def test_a_single_cluster_is_asked_for_by_get_at_each_interval(self, cloud: Timeline) -> None:
        cloud.watch("c-1")
        cloud.run(59)
        assert (cloud.gets("c-1"), cloud.lists) == ([0, 5, 20, 35, 50], [])

    def test_several_clusters_are_asked_for_by_one_list_an_interval(self, cloud: Timeline) -> None:
        watch_many(cloud, 500)
        cloud.run(59)
        assert cloud.lists == [0, 5, 20, 35, 50]
        assert len(cloud.asked) == 5

    def test_two_who_wait_for_the_same_cluster_share_its_gets(self, cloud: Timeline) -> None:
        first, second = cloud.watch("c-1"), cloud.watch("c-1", seconds=2)
        cloud.set_status("c-1", "READY", seconds=7)
        cloud.run(59)
        assert (cloud.gets("c-1"), cloud.lists) == ([0, 2, 5, 20], [])
        assert first.end == second.end == (20, Verdict.READY)

    def test_the_interval_is_the_smallest_that_anybody_asked_for(self, cloud: Timeline) -> None:
        cloud.watch("slow", poll_interval=30.0)
        quick = cloud.watch("quick", poll_interval=5.0, seconds=31)
        cloud.at(46, quick.leave)
        cloud.run(100)
        assert (cloud.lists, cloud.gets("slow")) == ([31, 35, 40, 45], [0, 20, 50, 80])

    def test_without_an_interval_the_rounds_follow_each_other_and_do_not_hang(self, cloud: Timeline) -> None:
        heard = cloud.watch("c-1", poll_interval=0.0)
        cloud.set_status("c-1", "READY", seconds=1)
        cloud.run(2)
        assert heard.end is not None

    def test_processes_do_not_ask_at_the_same_time(self, dialect: Dialect) -> None:
        moments = []
        for phase in (0.1, 0.6):
            cloud = Timeline(dialect, phase=phase)
            watch_many(cloud, 2)
            cloud.run(40)
            moments.append(cloud.lists[1:])
        assert moments == [pytest.approx([6.5, 21.5, 36.5]), pytest.approx([14.0, 29.0])]

    def test_an_answer_that_takes_longer_than_the_interval_does_not_double_the_questions(
        self, dialect: Dialect
    ) -> None:
        cloud = Timeline(dialect, latency=20.0)
        watch_many(cloud, 2)
        cloud.run(100)
        assert cloud.lists == [0, 35, 65, 95]

    def test_nothing_is_asked_when_nobody_waits_any_more(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 2)
        for one in range(2):
            cloud.set_status(f"c-{one}", "READY", seconds=17)
        cloud.run(1000)
        assert [one.end for one in heard] == [(20, Verdict.READY)] * 2
        assert cloud.lists == [0, 5, 20]


class TestWhoComesNew:
    def test_he_is_looked_for_at_once(self, cloud: Timeline) -> None:
        watch_many(cloud, 10)
        new = cloud.watch("new", seconds=7, status="READY")
        cloud.run(10)
        assert (new.end, cloud.gets("new")) == ((7, Verdict.READY), [7])

    def test_the_smallest_pace_is_that_of_the_newest(self, cloud: Timeline) -> None:
        watch_many(cloud, 3, poll_interval=60.0)
        cloud.run(1)
        cloud.watch("new", seconds=2, poll_interval=10.0)
        cloud.run(25)
        assert [*cloud.lists, *cloud.gets("new")] == [0, 10, 20, 2]

    def test_many_who_come_one_after_the_other_are_gathered_into_a_few_lists(self, dialect: Dialect) -> None:
        cloud = Timeline(dialect, latency=0.05)
        heard = [cloud.watch(f"c-{one}", seconds=one * 0.0025, status="READY") for one in range(2000)]
        cloud.run(10)
        assert len(cloud.asked) <= 12
        delays = [one.end[0] - number * 0.0025 for number, one in enumerate(heard) if one.end]
        assert len(delays) == 2000
        assert max(delays) <= 1.2

    def test_who_comes_during_a_question_is_not_overlooked(self, dialect: Dialect) -> None:
        cloud = Timeline(dialect, latency=2.0)
        watch_many(cloud, 2)
        late = cloud.watch("late", seconds=6, status="READY")
        cloud.run(12)
        assert (cloud.lists[:2], late.end) == ([0, 5], (9, Verdict.READY))

    def test_those_who_come_new_are_told_what_everybody_else_knows_already(self, cloud: Timeline) -> None:
        cloud.statuses.update(a="READY", b="READY")
        watch_many(cloud, 2)
        new = [cloud.watch(one, seconds=21) for one in "ab"]
        cloud.run(30)
        assert [one.end for one in new] == [(21, Verdict.READY)] * 2

    def test_somebody_who_leaves_during_a_question_hears_nothing(self, dialect: Dialect) -> None:
        cloud = Timeline(dialect, latency=2.0)
        stays, leaves = watch_many(cloud, 2, status="READY")
        cloud.at(1, leaves.leave)
        alone = cloud.watch("alone", seconds=10, status="READY")
        cloud.at(11, alone.leave)
        cloud.run(20)
        assert stays.end == (2, Verdict.READY)
        assert leaves.looks == alone.looks == []

    def test_to_leave_twice_does_no_harm(self, cloud: Timeline) -> None:
        (heard,) = watch_many(cloud, 1)
        cloud.at(1, lambda: [heard.leave() for _ in range(2)])
        cloud.run(100)
        assert len(cloud.asked) == 1


class TestOnlyChanges:
    def test_an_unchanged_list_is_not_read_again(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 100)
        cloud.run(299)
        assert len(cloud.lists) == 21
        assert cloud.parsed == 1
        assert [len(one.looks) for one in heard] == [1] * 100

    def test_a_change_is_told_to_those_whom_it_concerns_only(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 100)
        cloud.set_status("c-7", "INSTALLING_DRIVERS", seconds=16)
        cloud.set_status("bystander", "READY", seconds=31)
        cloud.run(100)
        assert cloud.parsed == 3
        assert [number for number, one in enumerate(heard) if len(one.looks) > 1] == [7]
        assert "INSTALLING_DRIVERS" in heard[7].news[-1]

    def test_each_wait_keeps_its_own_deadline(self, cloud: Timeline) -> None:
        heard = [cloud.watch(f"c-{one}", deadline=START + 50 + one) for one in range(20)]
        cloud.run(100)
        assert [one.end for one in heard] == [(50 + one, Verdict.TIMED_OUT) for one in range(20)]
        assert cloud.lists == [0, 5, 20, 35, 50, 65]

    def test_who_comes_after_his_deadline_is_looked_for_all_the_same(self, cloud: Timeline) -> None:
        late = cloud.watch("ready", deadline=START - 1, status="READY")
        too_late = cloud.watch("pending", deadline=START - 1)
        cloud.run(10)
        assert [late.end, too_late.end] == [(0, Verdict.READY), (0, Verdict.TIMED_OUT)]

    def test_a_wait_without_a_deadline_has_none(self, cloud: Timeline) -> None:
        heard = cloud.watch("c-1", deadline=None)
        cloud.run(100_000)
        assert heard.end is None

    def test_the_end_of_a_life_is_told_when_it_is_near_though_nothing_has_changed(self, cloud: Timeline) -> None:
        owner = Owner("airflow", "train", "run", "create")
        began = datetime.fromtimestamp(START, UTC)
        name = ClusterName.of(owner, now=began, lifetime=timedelta(hours=2))
        cloud.names["c-1"] = str(name)
        heard = cloud.watch("c-1", deadline=None)
        cloud.run(3 * 3600)
        assert name.end_of_life is not None
        told = [START + time for time, look in heard.looks if "The life of cluster" in look.news]
        assert told == [name.end_of_life.timestamp() - NEAR_END_SECONDS]


class TestAbsence:
    def test_a_cluster_that_the_list_does_not_show_is_asked_for_by_get(self, cloud: Timeline) -> None:
        cloud.unlisted = {"c-0"}
        hidden, *_ = watch_many(cloud, 5)
        cloud.set_status("c-0", "READY", seconds=40)
        cloud.run(100)
        assert hidden.end == (45, Verdict.READY)
        assert cloud.gets("c-0") == [0, 15, 30, 45]

    def test_it_is_gone_when_get_says_so_for_a_minute(self, cloud: Timeline) -> None:
        lost, *_ = watch_many(cloud, 5)
        cloud.at(22, lambda: cloud.statuses.pop("c-0"))
        cloud.run(200)
        assert cloud.gets("c-0") == [35, 50, 65, 80, 95]
        assert lost.end == (95, Verdict.GONE)

    def test_a_single_one_is_gone_after_the_same_time(self, cloud: Timeline) -> None:
        lost = cloud.watch("c-1")
        cloud.at(22, lambda: cloud.statuses.pop("c-1"))
        cloud.run(200)
        assert (lost.end, cloud.gets("c-1")) == ((95, Verdict.GONE), [0, 5, 20, 35, 50, 65, 80, 95])

    def test_an_absence_is_settled_in_time_for_slow_pollers_too(self, cloud: Timeline) -> None:
        lost = cloud.watch("c-1", poll_interval=900.0)
        del cloud.statuses["c-1"]
        cloud.run(500)
        assert lost.end == (60, Verdict.GONE)

    def test_a_list_that_is_empty_by_mistake_ends_no_wait(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 50)
        cloud.at(22, lambda: cloud.unlisted.update(cloud.statuses))
        cloud.at(200, cloud.unlisted.clear)
        cloud.run(300)
        assert [one.end for one in heard] == [None] * 50
        assert max(time for time, asked in cloud.asked if asked) < START + 215

    def test_a_cluster_that_comes_back_is_told_to_who_was_told_that_it_is_not_there(self, cloud: Timeline) -> None:
        lost, *_ = watch_many(cloud, 2)
        cloud.at(22, lambda: cloud.statuses.pop("c-0"))
        cloud.at(52, lambda: cloud.statuses.update({"c-0": "QUEUED"}))
        cloud.at(92, lambda: cloud.statuses.pop("c-0"))
        cloud.run(150)
        assert lost.end is None  # the second absence counts from its own beginning


class TestEnds:
    def test_a_cluster_is_gone_when_neither_list_nor_get_shows_it(self, cloud: Timeline) -> None:
        gone, _ = cloud.watch_end("c-0"), cloud.watch("c-1")
        cloud.at(22, lambda: cloud.statuses.pop("c-0"))
        cloud.run(100)
        assert (gone.end, cloud.gets("c-0")) == ((35, Verdict.GONE), [35])

    def test_a_single_one_needs_a_list_as_well(self, cloud: Timeline) -> None:
        gone = cloud.watch_end("c-0")
        cloud.at(22, lambda: cloud.statuses.pop("c-0"))
        cloud.run(100)
        assert (gone.end, cloud.lists) == ((35, Verdict.GONE), [35])

    def test_a_list_that_lags_is_waited_for(self, cloud: Timeline) -> None:
        gone = cloud.watch_end("c-0")
        cloud.fault = Fault(NotFoundError("no such cluster.", status=404), lists=False, until=START + 100)
        cloud.at(100, cloud.statuses.clear)
        cloud.run(500)
        assert gone.end is not None
        assert gone.end[1] is Verdict.GONE
        assert 100 <= gone.end[0] <= 130

    @pytest.mark.parametrize("others", [0, 3])
    def test_the_word_deleted_is_not_enough_while_it_is_listed(self, cloud: Timeline, others: int) -> None:
        gone = cloud.watch_end("c-0", status="DELETED")
        for one in range(others):
            cloud.watch(f"other-{one}")
        cloud.at(100, lambda: cloud.statuses.pop("c-0"))
        cloud.run(500)
        assert gone.end is not None
        assert 100 <= gone.end[0] <= 130

    @pytest.mark.parametrize("others", [0, 3])
    def test_one_that_lives_on_as_if_unheard_is_told_again_and_again(self, cloud: Timeline, others: int) -> None:
        heard = cloud.watch_end("c-0", status="READY")
        for one in range(others):
            cloud.watch(f"other-{one}")
        cloud.run(100)
        assert [time for time, look in heard.looks if look.is_unheard] == pytest.approx([30, 60, 90], abs=5)

    def test_nobody_is_to_ask_again_while_the_server_is_to_be_left_alone(self, cloud: Timeline) -> None:
        heard = cloud.watch_end("c-0", status="READY")
        cloud.watch("c-1")
        cloud.at(10, lambda: setattr(cloud, "fault", Fault(RateLimitError("429.", retry_after=300.0))))
        cloud.run(310)
        assert [time for time, look in heard.looks if look.is_unheard] == []

    def test_the_deadline_ends_it(self, cloud: Timeline) -> None:
        gone = cloud.watch_end("c-0", deadline=START + 50)
        cloud.run(100)
        assert gone.end == (50, Verdict.TIMED_OUT)


class TestTrouble:
    @pytest.mark.parametrize("number", [1, 40])
    def test_nobody_is_lost_and_the_pace_goes_down_while_the_server_fails(self, cloud: Timeline, number: int) -> None:
        heard = watch_many(cloud, number, deadline=None)
        cloud.fault = Fault(BUSY, until=START + 3600)
        cloud.run(3800)
        assert [one.end for one in heard] == [None] * number
        asked = [time - START for time, _ in cloud.asked if time < START + 3600]
        pauses = [later - time for time, later in itertools.pairwise(asked)]
        assert set(pauses[3:]) == {LONGEST_BACK_OFF}
        assert all("503. The cluster is still waited for." in one.news[0] for one in heard)
        assert all("is QUEUED" in one.news[1] for one in heard)

    @pytest.mark.parametrize("number", [1, 2, 40])
    def test_nothing_is_asked_before_its_time(self, cloud: Timeline, number: int) -> None:
        heard = watch_many(cloud, number)
        cloud.fault = Fault(RateLimitError("429.", retry_after=60.0), until=START + 59)
        late = cloud.watch("late", seconds=30, status="READY")
        hopeless = cloud.watch("hopeless", seconds=30, deadline=START + 20)
        for one in range(number):
            cloud.set_status(f"c-{one}", "READY", seconds=1)
        cloud.run(200)
        assert [time for time, _ in cloud.asked if START < time < START + 60] == []
        assert {one.end for one in [*heard, late]} <= {(60, Verdict.READY), (61, Verdict.READY)}
        assert hopeless.end == (30, Verdict.TIMED_OUT)

    def test_each_wait_keeps_its_deadline_while_the_server_is_left_alone(self, cloud: Timeline) -> None:
        heard = [cloud.watch(f"c-{one}", deadline=START + 50 + one) for one in range(5)]
        cloud.fault = Fault(RateLimitError("429.", retry_after=600.0))
        cloud.run(100)
        assert [one.end for one in heard] == [(50 + one, Verdict.TIMED_OUT) for one in range(5)]

    def test_a_list_that_fails_alone_is_done_without(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 30)
        cloud.run(1)
        cloud.fault = Fault(BUSY, gets=())
        for one in range(30):
            cloud.set_status(f"c-{one}", "READY", seconds=100 + one)
        cloud.run(400)
        assert all(one.end and one.end[0] <= 100 + number + 16 for number, one in enumerate(heard))
        assert len(cloud.lists) <= 8
        assert any("Asking for each of" in note for note in cloud.notes)

    def test_a_list_that_is_limited_alone_is_done_without_but_not_before_its_time(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 3, status="READY", seconds=1)
        cloud.fault = Fault(RateLimitError("429.", retry_after=30.0), gets=())
        cloud.run(200)
        assert all(one.end and one.end[1] is Verdict.READY for one in heard)
        times = [time for time, _ in cloud.asked]
        assert (times[0], times[1]) == (START + 1, START + 31)

    def test_a_list_that_works_again_is_used_again(self, cloud: Timeline) -> None:
        watch_many(cloud, 5)
        cloud.fault = Fault(BUSY, gets=(), until=START + 100)
        cloud.run(400)
        assert [asked for time, asked in cloud.asked if time > START + 180] == [""] * 15

    def test_no_path_for_the_list_proves_nothing_of_any_cluster(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 5)
        cloud.fault = Fault(NotFoundError("no such path.", status=404), gets=())
        cloud.run(400)
        assert [one.end for one in heard] == [None] * 5
        assert not any("was not found" in news for one in heard for news in one.news)

    def test_one_cluster_that_cannot_be_asked_for_does_not_blind_the_others(self, cloud: Timeline) -> None:
        cloud.unlisted = {"c-0"}
        poisoned, *others = watch_many(cloud, 5)
        cloud.fault = Fault(BUSY, lists=False, gets=["c-0"])
        for one in range(1, 5):
            cloud.set_status(f"c-{one}", "READY", seconds=100)
        cloud.run(200)
        assert all(one.end and one.end[0] <= 130 for one in others)
        assert all("503" not in news for one in others for news in one.news)
        assert "503" in poisoned.news[0]

    @pytest.mark.parametrize("number", [1, 30])
    def test_a_key_that_is_refused_for_long_ends_all_waits(self, cloud: Timeline, number: int) -> None:
        heard = watch_many(cloud, number)
        cloud.fault = Fault(AuthenticationError("401.", status=401))
        cloud.run(1000)
        assert all(one.end and one.end[1] is Verdict.REFUSED for one in heard)
        assert all(300 <= one.end[0] <= 400 for one in heard if one.end)

    def test_a_refusal_that_ends_is_forgotten_by_all(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 5)
        cloud.fault = Fault(PermissionDeniedError("403.", status=403), until=START + 200)
        cloud.at(400, lambda: setattr(cloud, "fault", Fault(PermissionDeniedError("403.", status=403))))
        cloud.run(650)
        assert [one.end for one in heard] == [None] * 5

    def test_a_fault_of_our_own_is_survived_like_one_of_the_server(self, cloud: Timeline) -> None:
        heard = watch_many(cloud, 5)
        cloud.at(7, lambda: cloud.board.on_crash(TransientError("KeyError."), now=cloud.now))
        cloud.set_status("c-3", "READY", seconds=8)
        cloud.run(100)
        assert (heard[3].end, cloud.lists[2]) == ((22, Verdict.READY), 22)


moments = st.integers(0, 3000).map(lambda tenths: tenths / 10)
faults = st.sampled_from(
    [
        BUSY,
        RateLimitError("429.", retry_after=40.0),
        AuthenticationError("401.", status=401),
        NotFoundError("404.", status=404),
    ]
)


@FIXED
@given(
    name=st.sampled_from(["tcloud", "compute"]),
    comes=st.lists(moments, min_size=1, max_size=12),
    ready=st.lists(moments, min_size=12, max_size=12),
    broken=st.none() | st.tuples(faults, st.booleans(), st.booleans(), moments, st.floats(0.0, 250.0)),
    hidden=st.sets(st.integers(0, 11)),
    latency=st.sampled_from([0.0, 0.3, 7.0]),
    phase=st.floats(0.0, 0.99),
)
def test_whatever_happens_everybody_hears_of_his_cluster_in_time(
    name: str,
    comes: list[float],
    ready: list[float],
    broken: Any,
    hidden: set[int],
    latency: float,
    phase: float,
) -> None:
    cloud = Timeline(dialect_named(name), latency=latency, phase=phase)
    cloud.unlisted = {f"c-{one}" for one in hidden}
    heard = [cloud.watch(f"c-{one}", seconds=seconds) for one, seconds in enumerate(comes)]
    for one, seconds in enumerate(ready[: len(comes)]):
        cloud.set_status(f"c-{one}", "READY", seconds=seconds)
    if broken:
        error, lists, gets, begin, lasts = broken
        fault = Fault(error, lists=lists, gets=None if gets else (), until=START + begin + lasts)
        cloud.at(begin, lambda: setattr(cloud, "fault", fault))
    cloud.run(2000)
    for one, watcher in enumerate(heard):
        assert watcher.end is not None
        seconds, verdict = watcher.end
        if verdict is not Verdict.READY:  # by a fault that looks like an end, as 404 and 401 do when they last
            assert broken
            assert isinstance(broken[0], (NotFoundError, AuthenticationError))
            continue
        assert seconds >= max(comes[one], ready[one]) - 1e-6
        if not broken:
            # One round, behind the answers to all who are asked for by themselves.
            assert seconds <= max(comes[one], ready[one]) + 15 + (len(comes) + 2) * latency + 15 * bool(latency)
