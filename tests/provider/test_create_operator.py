"""Creating a cluster in a DAG, on real Airflow."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.runtime.registry import DEPLOYMENT_VARIABLE
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.usefixtures("database"), pytest.mark.one_api]

REQUEST: dict[str, Any] = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 8,
    "duration_days": 1,
    "driver_version": "CUDA_12_8_570",
    "billing_type": "ON_DEMAND",
}


def run_create(**parameters: Any) -> Run:
    with DAG("create_cluster", schedule=None) as dag:
        CreateGPUClusterOperator(**{"task_id": "create", "poll_interval": 0.05, **REQUEST, **parameters})
    return run_dag(dag)


@pytest.mark.both_apis
def test_the_id_is_the_return_value_and_the_rest_has_keys_of_its_own(emulator: Emulator) -> None:
    run = run_create()
    (cluster,) = emulator.alive()
    assert run.state == "success"
    assert run.value("create") == cluster.cluster_id
    assert run.value("create", "cluster_id") == cluster.cluster_id
    assert run.value("create", "cluster_name") == cluster.cluster_name
    assert run.value("create", "region") == "us-central-8"
    assert cluster.cluster_id in run.value("create", "console_url")


def test_the_name_says_whose_the_cluster_is_and_when_its_life_ends(emulator: Emulator) -> None:
    run_create()
    (cluster,) = emulator.alive()
    name = ClusterName.parse(cluster.cluster_name)
    assert name is not None
    assert "create-cluster-create" in name.words
    assert name.end_of_life is not None


@pytest.mark.parametrize(
    ("parameters", "lifetime"),
    [
        ({}, timedelta(days=1)),
        ({"max_lifetime": timedelta(hours=12)}, timedelta(hours=12)),
        ({"max_lifetime": 1800}, timedelta(minutes=30)),
        ({"max_lifetime": "{{ 2 * 3600 }}"}, timedelta(hours=2)),
    ],
)
def test_the_end_of_life_is_max_lifetime_or_else_the_duration(
    emulator: Emulator, parameters: dict[str, Any], lifetime: timedelta
) -> None:
    before = datetime.now(UTC)
    run_create(**parameters)
    (cluster,) = emulator.alive()
    name = ClusterName.parse(cluster.cluster_name)
    assert name is not None
    assert name.end_of_life is not None
    assert before + lifetime <= name.end_of_life <= datetime.now(UTC) + lifetime + timedelta(minutes=1)


@pytest.mark.parametrize("api", ["compute"])
def test_without_any_duration_there_is_no_end_of_life_and_a_warning(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    run_create(duration_days=None)
    (cluster,) = emulator.alive()
    assert cluster.cluster_name.endswith("-open")
    assert "no end of life" in capsys.readouterr().out


def test_a_lifetime_that_a_name_of_the_users_own_cannot_carry_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(SpecError, match="max_lifetime=60 cannot be kept with cluster_name='mine'"):
        CreateGPUClusterOperator(task_id="create", **REQUEST, cluster_name="mine", max_lifetime=60)


def test_a_create_deletes_what_is_past_its_end_of_life(emulator: Emulator) -> None:
    (ours, others, own) = (forgotten(deployment=deployment()), forgotten(deployment="other"), "20200101t0000z")
    for name in (ours, others, own):
        TogetherHook().create_gpu_cluster(ClusterSpec.parse({**REQUEST, "cluster_name": name}))
    run = run_create()
    emulator.advance(3600)
    alive = {cluster.cluster_name for cluster in emulator.alive()}
    assert alive == {others, own, run.value("create", "cluster_name")}


def test_a_create_deletes_nothing_where_the_user_says_so(emulator: Emulator) -> None:
    name = forgotten(deployment=deployment())
    TogetherHook().create_gpu_cluster(ClusterSpec.parse({**REQUEST, "cluster_name": name}))
    run_create(sweep_expired=False)
    assert len(emulator.alive()) == 2


def deployment() -> str:
    """Return the id of the tests' Airflow, as a create finds it."""
    run_create_elsewhere()
    from airflow.models.variable import Variable

    return str(Variable.get(DEPLOYMENT_VARIABLE))


def run_create_elsewhere() -> None:
    """Run a create against a cloud of its own, so that the deployment has an id."""
    with Emulator() as elsewhere, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", elsewhere.connection())
        run_create()


def forgotten(*, deployment: str) -> str:
    """Return the name of a cluster whose life ended an hour ago."""
    owner = Owner(deployment, "some_dag", "yesterday", "create")
    return str(ClusterName.of(owner, now=datetime.now(UTC), lifetime=-timedelta(hours=1)))


@pytest.mark.both_apis
def test_every_parameter_may_be_a_template(emulator: Emulator) -> None:
    with DAG("templates", schedule=None, params={"gpus": 16, "days": 2, "wait": False}) as dag:
        CreateGPUClusterOperator(
            task_id="create",
            region="us-central-{{ 4 + 4 }}",
            gpu_type="{{ 'H100_SXM' }}",
            num_gpus="{{ params.gpus }}",
            cluster_name="run-{{ dag.dag_id }}",
            duration_days="{{ params.days }}",
            driver_version="{{ 'CUDA_12_8_570' }}",
            billing_type="{{ 'ON_DEMAND' }}",
            wait_for_completion="{{ params.wait }}",
        )
    assert run_dag(dag).state == "success"
    (cluster,) = emulator.alive()
    assert (cluster.cluster_name, cluster.num_gpus) == ("run-templates", 16)


def test_all_request_fields_are_template_fields() -> None:
    operator = CreateGPUClusterOperator(task_id="create", **REQUEST)
    own = {"region", "gpu_type", "num_gpus", "cluster_name", "duration_days", "driver_version", "billing_type"}
    own |= {"cluster_type", "shared_volume", "volume_id", "together_conn_id", "if_exists", "delete_on_failure"}
    own |= {"wait_for_completion", "deferrable", "poll_interval", "timeout", "on_degraded", "on_paused"}
    assert own <= set(operator.template_fields)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("num_gpus", 12),
        ("num_gpus", 0),
        ("duration_days", 0),
        ("gpu_type", "UNKNOWN_GPU_TYPE"),
        ("billing_type", "UNSPECIFIED"),
        ("driver_version", "UNKNOWN_DRIVER"),
        ("cluster_type", "UNKNOWN_TYPE"),
        ("cluster_name", "  "),
        ("cluster_name", "a\nb"),
        ("if_exists", "replace"),
        ("on_paused", "hope"),
        ("timeout", -1),
        ("max_lifetime", 0),
        ("max_lifetime", "a day"),
        ("sweep_expired", "perhaps"),
    ],
)
def test_a_wrong_literal_is_told_when_the_dag_is_parsed(parameter: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        CreateGPUClusterOperator(**{"task_id": "create", **REQUEST, parameter: value})
    assert f"{parameter}={value!r}" in str(caught.value)


def test_two_ways_to_give_a_volume_are_told_when_the_dag_is_parsed() -> None:
    volume = {"volume_name": "data", "size_tib": 1}
    with pytest.raises(SpecError, match="shared_volume and volume_id exclude each other"):
        CreateGPUClusterOperator(task_id="create", **REQUEST, shared_volume=volume, volume_id="vol-1")


def test_a_wrong_literal_of_a_mapped_operator_is_told_when_the_dag_is_parsed() -> None:
    with pytest.raises(SpecError, match="num_gpus=12"), DAG("mapped", schedule=None):
        CreateGPUClusterOperator.partial(task_id="create", **{**REQUEST, "num_gpus": 12}).expand(
            region=["us-central-8"]
        )


def test_a_wrong_literal_that_is_expanded_is_told_when_the_dag_is_parsed() -> None:
    request = {name: value for name, value in REQUEST.items() if name != "num_gpus"}
    with DAG("mapped", schedule=None):
        partial = CreateGPUClusterOperator.partial(task_id="create", **request)
        with pytest.raises(SpecError, match="num_gpus=12"):
            partial.expand(num_gpus=[8, 12])
        with pytest.raises(SpecError, match="num_gpus=4"):
            partial.expand_kwargs([{"num_gpus": 8}, {"num_gpus": 4}])
        partial.expand(num_gpus=[8])


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("num_gpus", "{{ 3 * 4 }}"), ("if_exists", "{{ 'replace' }}"), ("wait_for_completion", "{{ 'perhaps' }}")],
)
def test_a_wrong_rendered_value_is_told_before_a_request_is_sent(
    emulator: Emulator, parameter: str, value: str
) -> None:
    run = run_create(**{parameter: value}, retries=3)
    assert run.state == "failed"
    assert emulator.requests == []


def test_a_wrong_expanded_value_is_told_before_a_request_is_sent(emulator: Emulator) -> None:
    request = {name: value for name, value in REQUEST.items() if name != "num_gpus"}
    with DAG("mapped", schedule=None) as dag:
        CreateGPUClusterOperator.partial(task_id="create", **request).expand(num_gpus=[8, "{{ 3 * 4 }}"])
    run = run_dag(dag)
    assert run.states == {"create[0]": "success", "create[1]": "failed"}
    assert [cluster.num_gpus for cluster in emulator.alive()] == [8]


@pytest.mark.parametrize("api", ["tcloud"])
def test_a_field_that_the_dialect_lacks_is_told_before_a_request_is_sent(emulator: Emulator) -> None:
    run = run_create(auto_scale=True)
    assert run.state == "failed"
    assert emulator.requests == []


def test_mapped_tasks_make_a_cluster_each(emulator: Emulator) -> None:
    request = {name: value for name, value in REQUEST.items() if name != "num_gpus"}
    with DAG("mapped", schedule=None) as dag:
        CreateGPUClusterOperator.partial(task_id="create", **request).expand(num_gpus=[8, 16, 8])
    assert run_dag(dag).state == "success"
    assert sorted(cluster.num_gpus for cluster in emulator.alive()) == [8, 8, 16]


class FailingCreate(CreateGPUClusterOperator):
    """Stands for a worker that dies after the request, in its first try."""

    def execute(self, context: Any) -> str:
        cluster_id: str = super().execute(context)
        if context["ti"].try_number == 1:
            message = "the worker died"
            raise RuntimeError(message)
        return cluster_id


@pytest.mark.both_apis
def test_a_retry_adopts_the_cluster_of_the_first_try(emulator: Emulator) -> None:
    with DAG("retried", schedule=None) as dag:
        FailingCreate(task_id="create", **REQUEST, retries=1, retry_delay=timedelta(0))
    run = run_dag(dag)
    (cluster,) = emulator.alive()
    assert run.state == "success"
    assert run.value("create") == cluster.cluster_id
    assert len(emulator.clusters()) == 1


@pytest.mark.both_apis
def test_a_lost_answer_leads_to_the_cluster_that_was_made(emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="lose_answer", times=1))
    run = run_create()
    (cluster,) = emulator.alive()
    assert run.value("create") == cluster.cluster_id


def test_the_users_own_name_is_used_as_it_is(emulator: Emulator) -> None:
    run_create(cluster_name="Nightly run #7")
    assert [cluster.cluster_name for cluster in emulator.alive()] == ["Nightly run #7"]


@pytest.mark.both_apis
def test_somebodys_live_cluster_of_that_name_is_an_error(emulator: Emulator) -> None:
    run_create(cluster_name="shared")
    run = run_create(cluster_name="shared", retries=2)
    assert run.state == "failed"
    assert len(emulator.alive()) == 1


def test_somebodys_live_cluster_is_used_where_the_user_says_so(emulator: Emulator) -> None:
    first = run_create(cluster_name="shared")
    second = run_create(cluster_name="shared", if_exists="adopt")
    assert second.value("create") == first.value("create")
    assert len(emulator.alive()) == 1


def test_an_adopted_cluster_of_somebody_else_survives_a_failed_wait(emulator: Emulator) -> None:
    first = run_create(cluster_name="shared")
    emulator.set_status(first.value("create"), "PENDING")
    run = run_create(cluster_name="shared", if_exists="adopt", wait_for_completion=True, timeout=0.2)
    assert run.state == "failed"
    assert len(emulator.alive()) == 1


def test_an_adopted_cluster_of_somebody_else_survives_the_teardown_unless_the_user_says_otherwise(
    emulator: Emulator,
) -> None:
    run_create(cluster_name="shared")
    for delete_adopted in (False, True):
        with DAG("adopting", schedule=None) as dag:
            create = CreateGPUClusterOperator(
                task_id="create", **REQUEST, cluster_name="shared", if_exists="adopt", poll_interval=0.05
            )
            delete = DeleteGPUClusterOperator(
                task_id="delete", cluster_id=create.output, delete_adopted=delete_adopted, poll_interval=0.05
            )
            create >> delete.as_teardown(setups=create)
        assert run_dag(dag).states == {"create": "success", "delete": "success"}
        assert len(emulator.alive()) == (0 if delete_adopted else 1)


def test_an_adopted_cluster_is_left_alive_also_where_it_is_given_by_its_name_or_to_mapped_tasks(
    emulator: Emulator,
) -> None:
    run_create(cluster_name="shared")
    with DAG("adopting_in_other_ways", schedule=None) as dag:
        request = {name: value for name, value in REQUEST.items() if name != "gpu_type"}
        create = CreateGPUClusterOperator.partial(
            task_id="create", **request, cluster_name="shared", if_exists="adopt"
        ).expand(gpu_type=["H100_SXM"])
        by_id = DeleteGPUClusterOperator.partial(task_id="by_id").expand(cluster_id=create.output)
        create >> by_id >> DeleteGPUClusterOperator(task_id="by_name", cluster_name="shared")
    assert run_dag(dag).state == "success"
    assert len(emulator.alive()) == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.both_apis
def test_it_waits_until_ready_if_asked_to(emulator: Emulator, deferrable: bool) -> None:
    run = run_create(wait_for_completion=True, deferrable=deferrable)
    assert run.state == "success"
    (cluster,) = emulator.alive()
    assert run.value("create") == cluster.cluster_id
    assert cluster.ready_at is not None


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("delete_on_failure", [True, False])
def test_a_failed_wait_gives_the_cluster_back_if_asked_to(
    emulator: Emulator, deferrable: bool, delete_on_failure: bool
) -> None:
    emulator.inject(Fault(route="create_cluster", kind="failed_life", times=1))
    run = run_create(wait_for_completion=True, deferrable=deferrable, delete_on_failure=delete_on_failure)
    assert run.state == "failed"
    assert len(emulator.alive()) == (0 if delete_on_failure else 1)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wrong_reaction_that_was_rendered_fails_without_a_retry(emulator: Emulator, deferrable: bool) -> None:
    run = run_create(wait_for_completion=True, deferrable=deferrable, on_paused="{{ 'hope' }}", retries=3)
    assert run.state == "failed"
    assert len(emulator.clusters()) == 0


@pytest.mark.both_apis
def test_out_of_stock_is_retried_by_airflow(emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="out_of_stock", times=1))
    run = run_create(retries=1, retry_delay=timedelta(0))
    assert run.state == "success"
    assert len(emulator.alive()) == 1


def test_a_refused_key_is_not_retried_by_airflow(emulator: Emulator) -> None:
    emulator.inject(Fault(route="list_clusters", status=401, times=None))
    run = run_create(retries=5, retry_delay=timedelta(0))
    assert run.state == "failed"
    assert len(emulator.requests) == 1


class Killed(BaseOperator):
    """Runs a create and kills it as Airflow's signal handler does, as soon as the time has come."""

    def __init__(self, *, create: CreateGPUClusterOperator, when: Callable[[], bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.create = create
        self.when = when

    def execute(self, context: Any) -> None:
        is_over = threading.Event()

        def strike() -> None:
            while not is_over.wait(0.01):
                if self.when():
                    os.kill(os.getpid(), signal.SIGALRM)
                    return

        before = signal.signal(signal.SIGALRM, lambda *_: self.create.on_kill())
        watch = threading.Thread(target=strike)
        watch.start()
        try:
            self.create.execute(context)
        finally:
            is_over.set()
            watch.join()
            signal.signal(signal.SIGALRM, before)


def test_a_killed_wait_gives_the_cluster_back(emulator: Emulator) -> None:
    emulator.inject(Fault(route="get_cluster", kind="status_word", word="PENDING", times=None))
    create = CreateGPUClusterOperator(task_id="inner", **REQUEST, wait_for_completion=True, poll_interval=0.05)

    def is_looked_at() -> bool:
        return any(request.route == "get_cluster" and request.status for request in emulator.requests)

    with DAG("killed", schedule=None) as dag:
        Killed(task_id="create", create=create, when=is_looked_at)
    run = run_dag(dag)
    emulator.advance(3600)
    assert run.state == "failed"
    assert emulator.alive() == []
    assert len(emulator.clusters()) == 1


def test_a_create_that_is_killed_while_its_request_is_under_way_gives_the_cluster_back(emulator: Emulator) -> None:
    emulator.inject(Fault(route="create_cluster", kind="latency", real_seconds=1.0, times=1))
    create = CreateGPUClusterOperator(task_id="inner", **REQUEST)

    def is_asked_for() -> bool:
        return any(request.route == "create_cluster" for request in emulator.requests)

    with DAG("killed_early", schedule=None) as dag:
        Killed(task_id="create", create=create, when=is_asked_for)
    run = run_dag(dag)
    emulator.advance(3600)
    assert run.state == "failed"
    assert emulator.alive() == []
    assert len(emulator.clusters()) == 1


@pytest.mark.both_apis
def test_the_hook_of_a_named_connection_is_used(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, api: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GPUS", emulator.connection(api=api))
    monkeypatch.delenv("AIRFLOW_CONN_TOGETHER_DEFAULT")
    assert run_create(together_conn_id="gpus").state == "success"
    assert len(TogetherHook("gpus").list_gpu_clusters()) == 1
