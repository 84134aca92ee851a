"""The parts of the demo that need neither Airflow nor clusters: view, screen, table, verdict, consent."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_together.api.client import Client
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.demo import run_demo
from airflow_provider_together.demo.airflow_api import TaskInstance
from airflow_provider_together.demo.clusters import LiveClusters
from airflow_provider_together.demo.consent import Wish, is_confirmed, summary, words_to_type
from airflow_provider_together.demo.dag_folder import DagFolder
from airflow_provider_together.demo.environment import airflow_settings, clean_environment
from airflow_provider_together.demo.live import agreed_settings, connection_json
from airflow_provider_together.demo.plan import PlanError, read_plan
from airflow_provider_together.demo.report import closing_table, left_line, shortcomings
from airflow_provider_together.demo.run import example_dag
from airflow_provider_together.demo.screen import Screen
from airflow_provider_together.demo.view import ClusterRow, Progress, Snapshot, clock, status_line
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.lifecycle.name import ClusterName, Owner

START = datetime(2026, 1, 1, tzinfo=UTC)
CLUSTER = ClusterRow("c-1", "af-x", "PENDING", 16, "H100_SXM", "us-central-8", 0.0, is_alive=True)
WISH = Wish("create", 16, "H100_SXM", "us-central-8", "ON_DEMAND", 1)
WORDS = "rent 16 GPUs for up to 24 hours"


def task(task_id: str, state: str, *, seconds: float | None = 0.0, map_index: int = -1, tries: int = 1) -> TaskInstance:
    ended = START + timedelta(seconds=seconds) if seconds is not None and state in {"success", "failed"} else None
    return TaskInstance(task_id, map_index, state, tries, "", None if seconds is None else START, ended, None)


def snapshot(*tasks: TaskInstance, state: str = "running", clusters: tuple[ClusterRow, ...] = ()) -> Snapshot:
    return Snapshot(65.0, START + timedelta(seconds=9), state, tasks, clusters)


# the view


def test_each_change_gets_one_line() -> None:
    progress = Progress()
    look = snapshot(task("create", "running"), clusters=(CLUSTER,))
    first = progress.on_snapshot(look)
    assert [line.split() for line in first] == [
        ["1:05", "create", "running"],
        ["1:05", "cluster", "PENDING", "16", "x", "H100_SXM", "us-central-8", "c-1"],
    ]
    assert progress.on_snapshot(look) == []
    ready = replace(look, clusters=(replace(CLUSTER, status="READY"),))
    assert ["READY" in line for line in progress.on_snapshot(ready)] == [True]


def test_a_resize_is_a_change() -> None:
    progress = Progress()
    progress.on_snapshot(snapshot(clusters=(CLUSTER,)))
    (line,) = progress.on_snapshot(snapshot(clusters=(replace(CLUSTER, num_gpus=24),)))
    assert "24 x H100_SXM" in line


def test_mapped_tasks_are_told_apart() -> None:
    tasks = (task("train", "running", map_index=0), task("train", "running", map_index=1))
    lines = Progress().on_snapshot(snapshot(*tasks))
    assert [line.split()[1] for line in lines] == ["train[0]", "train[1]"]


def test_a_second_try_is_told() -> None:
    (line,) = Progress().on_snapshot(snapshot(task("create", "running", tries=2)))
    assert "(try 2)" in line


def test_tasks_that_do_nothing_are_not_shown() -> None:
    assert Progress().on_snapshot(snapshot(task("train", "none"), task("delete", "scheduled"))) == []


def test_the_status_line_tells_what_goes_on_now() -> None:
    tasks = (task("create", "success", seconds=2), task("wait_until_ready", "deferred"), task("train", "none"))
    gone = replace(CLUSTER, status="GONE", is_alive=False)
    line = status_line(snapshot(*tasks, clusters=(CLUSTER, gone)))
    assert line.strip() == "1:05  run running | wait_until_ready deferred 0:09 | cluster PENDING, 16 GPUs"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.9, "1:05"), (3600, "1:00:00"), (-1, "0:00")])
def test_durations_are_told_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# the screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_a_file_gets_plain_lines_and_no_status() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.status("now")
    screen.line("wait_until_ready deferred")
    assert stream.getvalue() == "wait_until_ready deferred\n"


def test_a_terminal_gets_colours_and_a_refreshed_status(terminal: Terminal) -> None:
    screen = Screen(terminal)
    screen.status("now")
    screen.line("cluster READY")
    assert terminal.getvalue() == "\r\x1b[2Know\r\x1b[2Kcluster \x1b[32mREADY\x1b[0m\n"


def test_no_color_is_respected(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    Screen(terminal).line("cluster READY")
    assert "\x1b[32m" not in terminal.getvalue()


def test_a_closed_pipe_does_not_end_the_demo() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    Screen(Closed()).line("cluster READY")


# the table and the verdict


def finished(*, clusters: tuple[ClusterRow, ...] | None = None, state: str = "success") -> Snapshot:
    tasks = (task("train", "success", seconds=1.5), task("create", "success", seconds=2.0))
    gone = replace(CLUSTER, status="GONE", is_alive=False, gpu_hours=4.0)
    return snapshot(*tasks, state=state, clusters=(gone,) if clusters is None else clusters)


def watched(*states: str, words: tuple[str, ...] = ("PENDING", "READY")) -> Progress:
    progress = Progress()
    for state in states:
        progress.on_snapshot(snapshot(task("wait_until_ready", state)))
    for word in words:
        progress.on_snapshot(snapshot(clusters=(replace(CLUSTER, status=word),)))
    return progress


def table(*, price: float | None = None, results: Mapping[str, object] | None = None) -> str:
    lines = closing_table(finished(), results=results or {}, price_per_gpu_hour=price, is_simulated=True)
    return "\n".join(lines)


def test_the_table_has_steps_durations_and_gpu_hours() -> None:
    text = table()
    assert "create  success  1      2.0 s" in text
    assert "GPU-hours  4.00 (of simulated time)" in text
    assert "price" not in text


def test_the_table_has_the_price_if_one_is_set() -> None:
    assert "12.00 at 3.00 per GPU-hour" in table(price=3.0)


def test_a_price_of_nothing_is_a_price() -> None:
    assert "0.00 at 0.00 per GPU-hour" in table(price=0.0)


def test_the_table_has_what_the_training_returned() -> None:
    text = table(results={"create": "c-1", "train": {"nodes": ["a", "b"], "loss_after": 0.5}})
    assert "train returned\n  nodes       a, b\n  loss_after  0.5" in text
    assert "create returned" not in text


def test_a_run_with_everything_in_it_has_no_shortcomings() -> None:
    progress = watched("running", "deferred", "success")
    assert shortcomings(finished(), progress, must_defer="wait_until_ready") == []


def test_a_sensor_that_was_never_deferred_is_a_shortcoming() -> None:
    (missing,) = shortcomings(finished(), watched("running", "success"), must_defer="wait_until_ready")
    assert "never seen deferred" in missing


def test_another_dag_need_not_defer() -> None:
    assert shortcomings(finished(), watched("running"), must_defer=None) == []


def test_a_cluster_that_was_never_ready_is_a_shortcoming() -> None:
    (missing,) = shortcomings(finished(), watched("deferred", words=("PENDING",)), must_defer="wait_until_ready")
    assert "READY" in missing


def test_the_current_words_of_together_count_as_well() -> None:
    progress = watched("deferred", words=("InstallingDrivers", "Ready"))
    assert shortcomings(finished(), progress, must_defer="wait_until_ready") == []


def test_a_failed_run_is_a_shortcoming() -> None:
    assert shortcomings(finished(state="failed"), watched("deferred"), must_defer=None) == ["The run is failed."]


def test_a_task_that_did_not_succeed_is_a_shortcoming_even_if_the_run_did() -> None:
    look = replace(finished(), tasks=(task("delete", "failed"),))
    assert shortcomings(look, watched("deferred"), must_defer=None) == ["Task delete is failed."]


def test_a_cluster_that_is_alive_is_a_shortcoming() -> None:
    (missing,) = shortcomings(finished(clusters=(CLUSTER,)), watched("deferred"), must_defer=None)
    assert "c-1 is alive" in missing


def test_the_last_line_counts_and_names_what_is_alive() -> None:
    gone = replace(CLUSTER, is_alive=False)
    other = replace(CLUSTER, cluster_id="c-2", status="READY")
    assert left_line([gone]) == "0 clusters left"
    assert left_line([gone, CLUSTER]) == "1 cluster left: c-1 (PENDING)"
    assert left_line([CLUSTER, other]) == "2 clusters left: c-1 (PENDING), c-2 (READY)"


# consent


def test_the_words_name_gpus_and_hours() -> None:
    assert words_to_type([WISH]) == WORDS
    assert words_to_type([WISH, replace(WISH, num_gpus=8, days=2)]) == "rent 24 GPUs for up to 48 hours"
    assert words_to_type([replace(WISH, days=None)]) == "rent 16 GPUs without a time limit"
    assert words_to_type([replace(WISH, num_gpus=1)]) == "rent 1 GPU for up to 24 hours"


def test_the_summary_says_how_many_gpu_hours_that_is_and_what_they_cost() -> None:
    text = "\n".join(summary([WISH], host="https://together.example", price_per_gpu_hour=2.5))
    assert "16 x H100_SXM in us-central-8" in text
    assert "384 GPU-hours, 960.00 at your price" in text
    assert "https://together.example" in text


@pytest.mark.parametrize("typed", [WORDS, f"  {WORDS}\n"])
def test_the_exact_words_are_consent(typed: str) -> None:
    assert is_confirmed([WISH], ask=lambda _: typed)


@pytest.mark.parametrize("typed", ["", "y", "yes", WORDS.upper(), WORDS + "!", WORDS.replace("16", "8")])
def test_anything_else_is_none(typed: str) -> None:
    assert not is_confirmed([WISH], ask=lambda _: typed)


def test_the_end_of_the_input_is_no_consent() -> None:
    def closed(_: str) -> str:
        raise EOFError

    assert not is_confirmed([WISH], ask=closed)


# what a DAG will ask for


def test_the_canonical_dag_asks_for_sixteen_gpus_for_a_day() -> None:
    assert read_plan(example_dag()) == [replace(WISH, task_id="h100.create")]


@pytest.mark.parametrize("name", ["train_single_node.py", "train_on_slurm.py"])
def test_a_training_on_what_is_rented_adds_nothing(name: str) -> None:
    assert [wish.task_id for wish in read_plan(example_dag().with_name(name))] == ["h100.create"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("train_mapped.py", "mapped"),
        ("train_nightly.py", "schedule"),
        ("shared_volume.py", "CreateSharedVolumeOperator"),
        ("linear_model.py", "0 DAGs"),
    ],
)
def test_a_dag_whose_cost_nobody_can_tell_is_refused(name: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        read_plan(example_dag().with_name(name))


def test_without_a_terminal_nothing_is_rented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "sk-not-used")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{WORDS}\n"))
    stream = io.StringIO()
    assert run_demo(live=True, stream=stream) == 2
    assert stream.getvalue().endswith("Not confirmed: nothing was started, nothing is spent.\n")


def test_a_dag_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    stream = io.StringIO()
    assert run_demo(dag_file=tmp_path / "nothing.py", stream=stream) == 2
    assert "nothing.py' is wrong" in stream.getvalue()


# clusters for real, with the emulator in the part of Together


SPEC = ClusterSpec(
    cluster_name="somebodys",
    region="us-central-8",
    gpu_type="H100_SXM",
    num_gpus=8,
    duration_days=1,
    driver_version="CUDA_12_8_570",
    billing_type="ON_DEMAND",
)


@pytest.fixture
def settings(emulator: Emulator, api: str) -> Settings:
    return Settings(base_url=emulator.url, api_key=emulator.api_key, dialect=api, deployment="demo1234")


@pytest.fixture
def live(settings: Settings) -> Iterator[LiveClusters]:
    """The clusters of a run, before which somebody's cluster was there."""
    _create(settings, "somebodys")
    with closing(LiveClusters(settings, interval=0, delete_interval=0.05)) as clusters:
        yield clusters


def _create(settings: Settings, name: str) -> str:
    with Client(settings) as client:
        return client.send(client.dialect.create_cluster(SPEC.model_copy(update={"cluster_name": name}))).cluster_id


def _our_name(settings: Settings) -> str:
    return str(ClusterName.of(Owner(settings.deployment, "dag", "run", "task"), now=START))


def test_only_the_clusters_of_the_run_are_watched(live: LiveClusters, settings: Settings) -> None:
    ours = _create(settings, _our_name(settings))
    _create(settings, "somebodys-newer")
    _create(settings, _our_name(replace(settings, deployment="other")))
    assert [row.cluster_id for row in live.look()] == [ours]


def test_a_cluster_with_a_name_of_the_dag_counts_once_it_is_claimed(live: LiveClusters, settings: Settings) -> None:
    claimed = _create(settings, "my-own-name")
    live.claim(claimed)
    assert [row.cluster_id for row in live.look()] == [claimed]


def test_a_cluster_that_was_there_before_cannot_be_claimed(live: LiveClusters, emulator: Emulator) -> None:
    (before,) = emulator.alive()
    live.claim(before.cluster_id)
    assert live.look() == []


def test_only_the_clusters_of_the_run_are_given_back(
    live: LiveClusters, settings: Settings, emulator: Emulator
) -> None:
    ours = _create(settings, _our_name(settings))
    said: list[str] = []
    assert [row for row in live.give_back(said.append) if row.is_alive] == []
    assert [cluster.cluster_name for cluster in emulator.alive()] == ["somebodys"]
    assert f"Deleting {ours}" in said[0]


def test_a_cluster_that_is_listed_late_is_given_back_as_well(
    live: LiveClusters, settings: Settings, emulator: Emulator
) -> None:
    _create(settings, _our_name(settings))
    emulator.inject(Fault(route="list_clusters", kind="hide_cluster", times=2))
    assert live.look() == []
    assert [row for row in live.give_back(lambda _: None) if row.is_alive] == []
    assert [cluster.cluster_name for cluster in emulator.alive()] == ["somebodys"]


def test_what_is_gone_stays_in_the_picture(live: LiveClusters, settings: Settings) -> None:
    _create(settings, _our_name(settings))
    live.look()
    live.give_back(lambda _: None)
    (row,) = live.known()
    assert row.status == "GONE"
    assert not row.is_alive


def test_a_look_is_not_a_request_each_time(settings: Settings, emulator: Emulator) -> None:
    with closing(LiveClusters(settings, monotonic=lambda: 100.0)) as clusters:
        clusters.look()
        requests = len(emulator.requests)
        clusters.look()
        assert len(emulator.requests) == requests
        clusters.look(fresh=True)
        assert len(emulator.requests) == requests + 1


def test_the_connection_of_the_throw_away_airflow_is_the_users_with_a_deployment_of_its_own(
    emulator: Emulator, api: str
) -> None:
    words: list[str] = []
    agreed = agreed_settings(
        example_dag(),
        "together_default",
        say=words.append,
        ask=lambda prompt: prompt.split("`")[1],
        price_per_gpu_hour=None,
    )
    fields = json.loads(connection_json(agreed))
    assert (fields["host"], fields["password"], fields["extra"]["api"]) == (emulator.url, emulator.api_key, api)
    assert fields["extra"]["deployment"].startswith("demo")
    assert emulator.api_key not in "".join(words)
    assert emulator.url in words[0]


# the stack's surroundings


def test_nothing_of_the_users_airflow_leaks_in() -> None:
    user = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_TOGETHER_DEFAULT": "together://:sk-real@",
        "TOGETHER_API_KEY": "sk-real",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/bin",
        "https_proxy": "http://proxy.example",
        "NO_PROXY": "intern.example",
    }
    clean = clean_environment(user)
    assert set(user) & set(clean) == {"PATH", "https_proxy", "NO_PROXY"}
    assert clean["no_proxy"] == "intern.example,127.0.0.1,localhost"


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    settings = airflow_settings(tmp_path, port=8080, sql_alchemy_conn="", executor="LocalExecutor", parallelism=1)
    assert settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "0.0.0.0" not in str(settings)  # noqa: S104 - that is the point


def test_airflow_reads_only_the_dags_that_were_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("wanted.py", "helper.py", "unwanted.py", ".hidden"):
        (source / name).write_text("")
    folder = DagFolder(tmp_path / "dags")
    folder.link(source / "wanted.py")
    folder.write("written.py", "x = 1")
    assert (folder.path / ".airflowignore").read_text().split() == ["*", "!wanted.py", "!written.py"]
    assert (folder.path / "helper.py").resolve() == source / "helper.py"
    assert not (folder.path / ".hidden").exists()
