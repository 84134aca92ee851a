"""What is paid for whether or not it is used: no clean-up throws it away, and no retry buys it twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.reservation import Reservation
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.operators.sweep import SweepGPUClustersOperator
from airflow_provider_together.runtime.deferral import DEFERRAL_MARGIN
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup
from tests.provider.test_create_operator import REQUEST, Killed
from tests.support.dag_runs import Run, SameRun, run_dag

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import TaskDeferred  # type: ignore[no-redef,attr-defined,unused-ignore]

pytestmark = pytest.mark.usefixtures("database")

RESERVED: dict[str, Any] = {**REQUEST, "billing_type": "RESERVED", "duration_days": 7, "poll_interval": 0.05}
HOUR = 3600.0


def scheduled(hours: float = 30, **changes: Any) -> dict[str, Any]:
    """Return a create whose capacity starts that much later, for a day."""
    start = datetime.now(UTC) + timedelta(hours=hours)
    times = {"reservation_start_time": start.isoformat(), "reservation_end_time": start + timedelta(days=1)}
    return {**RESERVED, "billing_type": "SCHEDULED_CAPACITY", "duration_days": None, **times, **changes}


def run_create(request: dict[str, Any], **parameters: Any) -> Run:
    with SameRun("reserve", schedule=None) as dag:
        CreateGPUClusterOperator(task_id="create", wait_for_completion=True, **{**request, **parameters})
    return run_dag(dag)


@pytest.fixture
def failing(emulator: Emulator) -> Emulator:
    """The emulator, whose next cluster fails."""
    emulator.inject(Fault(route="create_cluster", kind="failed_life", seconds=0.01, times=1))
    return emulator


@pytest.fixture
def stuck(api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator whose clusters do not become READY while a test runs, but go at once."""
    with Emulator(speed=1.0, delete_takes=0.0) as running:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", running.connection(api=api))
        yield running


def counts(emulator: Emulator) -> tuple[int, int]:
    """How many clusters were made, and how many are alive."""
    return len(emulator.clusters()), len(emulator.alive())


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("delete_reserved", [False, True])
def test_a_wait_that_ran_out_leaves_a_reservation_alive_unless_the_user_says_otherwise(
    stuck: Emulator, deferrable: bool, delete_reserved: bool
) -> None:
    run = run_create(RESERVED, timeout=0.2, deferrable=deferrable, delete_reserved=delete_reserved)
    stuck.advance(HOUR)
    assert run.state == "failed"
    assert counts(stuck) == (1, 0 if delete_reserved else 1)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_retry_adopts_the_reservation_that_a_failed_wait_has_left(stuck: Emulator, deferrable: bool) -> None:
    run_create(RESERVED, timeout=0.2, deferrable=deferrable)
    stuck.advance(HOUR)
    run = run_create(RESERVED, deferrable=deferrable)
    assert run.state == "success"
    assert counts(stuck) == (1, 1)


def test_a_reservation_that_has_failed_is_kept_and_no_other_one_is_bought(failing: Emulator) -> None:
    assert [run_create(RESERVED).state for _ in range(2)] == ["failed", "failed"]
    assert counts(failing) == (1, 1)


def test_one_that_has_failed_is_replaced_where_the_user_says_so(failing: Emulator) -> None:
    run_create(RESERVED)
    assert run_create(RESERVED, delete_reserved=True).state == "success"
    failing.advance(HOUR)
    assert counts(failing) == (2, 1)


@pytest.mark.parametrize("delete_reserved", [False, True])
def test_a_kill_leaves_a_reservation_alive_unless_the_user_says_otherwise(
    stuck: Emulator, delete_reserved: bool
) -> None:
    create = CreateGPUClusterOperator(
        task_id="inner", wait_for_completion=True, delete_reserved=delete_reserved, **RESERVED
    )
    with DAG("killed_reservation", schedule=None) as dag:
        Killed(task_id="create", create=create, when=lambda: any(r.route == "get_cluster" for r in stuck.requests))
    assert run_dag(dag).state == "failed"
    stuck.advance(HOUR)
    assert counts(stuck) == (1, 0 if delete_reserved else 1)


@pytest.mark.parametrize("by", ["cluster_id", "create_task_id", "cluster_name"])
@pytest.mark.parametrize("delete_reserved", [False, True])
def test_a_teardown_leaves_a_reservation_alive_and_succeeds(emulator: Emulator, by: str, delete_reserved: bool) -> None:
    with DAG("torn_down", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **RESERVED)
        name = "{{ ti.xcom_pull(task_ids='create', key='cluster_name') }}"
        target: Any = {"cluster_id": create.output, "create_task_id": "create", "cluster_name": name}[by]
        parameters: dict[str, Any] = {by: target, "delete_reserved": delete_reserved, "poll_interval": 0.05}
        delete = DeleteGPUClusterOperator(task_id="delete", **parameters)
        create >> delete.as_teardown(setups=create)
    assert run_dag(dag).states == {"create": "success", "delete": "success"}
    assert counts(emulator) == (1, 0 if delete_reserved else 1)


def test_a_teardown_knows_a_reservation_of_the_users_own_name(emulator: Emulator) -> None:
    with DAG("own_name", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", cluster_name="ours", **RESERVED)
        delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=0.05)
        create >> delete.as_teardown(setups=create)
    assert run_dag(dag).state == "success"
    assert counts(emulator) == (1, 1)


@pytest.mark.parametrize("delete_reserved", [False, True])
def test_the_teardown_of_a_block_leaves_a_reservation_alive_unless_the_user_says_otherwise(
    emulator: Emulator, delete_reserved: bool
) -> None:
    @task
    def train(cluster_id: str) -> str:
        return cluster_id

    dag = DAG("block_of_reservation", schedule=None)
    options = {**RESERVED, "deferrable": False, "poll_interval": 0.05, "delete_reserved": delete_reserved}
    with dag, GPUClusterTaskGroup("h100", **options) as cluster:
        train(cluster.cluster_id)
    run = run_dag(dag)
    assert run.states["h100.delete"] == "success"
    assert counts(emulator) == (1, 0 if delete_reserved else 1)


def test_a_teardown_finds_the_reservation_of_a_request_whose_answer_was_lost(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection(api=api, visibility=0.1))
    emulator.inject(Fault(route="create_cluster", kind="lose_answer", times=1))
    emulator.inject(Fault(route="list_clusters", kind="hide_cluster", times=3))
    with DAG("answer_lost", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **RESERVED)
        delete = DeleteGPUClusterOperator(task_id="delete", create_task_id="create", trigger_rule="all_done")
        create >> delete
    run_dag(dag)
    assert counts(emulator) == (1, 1)


def test_a_delete_that_is_no_teardown_is_a_plain_request(emulator: Emulator) -> None:
    with DAG("plain", schedule=None) as dag:
        create = CreateGPUClusterOperator(task_id="create", **RESERVED)
        DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=0.05)
    assert run_dag(dag).state == "success"
    assert counts(emulator) == (1, 0)


@pytest.mark.parametrize("delete_reserved", [False, True])
def test_a_sweep_leaves_the_reservation_of_a_run_that_is_over(emulator: Emulator, delete_reserved: bool) -> None:
    run_create(RESERVED)
    with DAG("sweeping", schedule=None) as dag:
        SweepGPUClustersOperator(task_id="sweep", delete=True, delete_reserved=delete_reserved, poll_interval=0.05)
    assert run_dag(dag).state == "success"
    assert counts(emulator) == (1, 0 if delete_reserved else 1)


@pytest.mark.parametrize("api", ["compute"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_counts_from_the_start_of_the_capacity(emulator: Emulator, deferrable: bool) -> None:
    is_over = threading.Event()

    def start_when_it_was_waited_for() -> None:
        while not is_over.wait(0.01):
            if sum(request.route == "get_cluster" for request in emulator.requests) > 20:
                emulator.advance(31 * HOUR)
                return

    clock = threading.Thread(target=start_when_it_was_waited_for)
    clock.start()
    try:
        # Twenty looks take longer than the timeout, which would end the wait if it counted from the create.
        run = run_create(scheduled(30), timeout=0.5, deferrable=deferrable)
    finally:
        is_over.set()
        clock.join()
    assert run.state == "success"
    assert counts(emulator) == (1, 1)


@pytest.mark.parametrize("api", ["compute"])
def test_the_name_ends_with_the_paid_time(emulator: Emulator) -> None:
    request = scheduled()
    with DAG("named", schedule=None) as dag:
        CreateGPUClusterOperator(task_id="create", **request)
    run_dag(dag)
    name = ClusterName.parse(emulator.alive()[0].cluster_name)
    assert name is not None
    assert name.end_of_life is not None
    assert timedelta(0) <= name.end_of_life - request["reservation_end_time"] <= timedelta(minutes=1)


def test_the_wait_of_a_triggerer_ends_after_the_start(emulator: Emulator) -> None:
    create = CreateGPUClusterOperator(task_id="create", timeout=7200, **RESERVED)
    now = create.hook.client.now()
    paid = Reservation("SCHEDULED_CAPACITY", now + 30 * HOUR, now + 54 * HOUR)
    with pytest.raises(TaskDeferred) as deferred:
        create.defer_until_ready("c-1", paid=paid)
    row = deferred.value.trigger.serialize()[1]
    assert row["end_time"] == pytest.approx(now + 32 * HOUR, abs=60)
    assert deferred.value.timeout == timedelta(seconds=row["end_time"] - row["started"] + DEFERRAL_MARGIN)
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("request_", "lifetime"),
    [(RESERVED, timedelta(days=6)), (scheduled(), timedelta(hours=20)), (RESERVED, 3600)],
)
def test_an_end_of_life_within_the_paid_time_is_told_when_the_dag_is_parsed(
    request_: dict[str, Any], lifetime: Any
) -> None:
    with pytest.raises(SpecError, match=r"max_lifetime.*delete_reserved=True"):
        CreateGPUClusterOperator(task_id="create", max_lifetime=lifetime, **request_)
    CreateGPUClusterOperator(task_id="create", max_lifetime=lifetime, delete_reserved=True, **request_)
    CreateGPUClusterOperator(task_id="create", max_lifetime=timedelta(days=8), **request_)


def test_one_that_was_rendered_is_told_before_a_request_is_sent(emulator: Emulator) -> None:
    run = run_create(RESERVED, max_lifetime="{{ 3600 }}")
    assert run.state == "failed"
    assert counts(emulator) == (0, 0)
