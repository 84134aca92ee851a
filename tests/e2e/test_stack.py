"""The throw-away Airflow itself: it runs, is killed and restarted on purpose, and leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from airflow_provider_together.demo.airflow_api import AirflowAPI, AirflowAPIError
from airflow_provider_together.demo.airflow_stack import COMPONENTS, SCHEDULER, TRIGGERER, AirflowStack, StackError

pytestmark = pytest.mark.e2e

SECOND_TRIGGERER = "triggerer-2"

PATIENCE = """
from datetime import timedelta

from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import dag, task


@task
def after(number: int) -> dict[str, int]:
    print(f"the number is {number}")
    return {"number": number}


@dag(schedule=None)
def patience():
    TimeDeltaSensor(task_id="wait", delta=timedelta(seconds=20), deferrable=True) >> after.expand(number=[1, 2])


patience()
"""

ENDLESS = """
import threading

from airflow.sdk import dag, task


@task
def work():
    threading.Event().wait()


@dag(schedule=None)
def endless():
    work()


endless()
"""


@pytest.fixture(scope="module")
def airflow() -> Iterator[AirflowStack]:
    """An Airflow of this module's own, since its components get killed, with a second triggerer."""
    with AirflowStack(extra_components={SECOND_TRIGGERER: ("triggerer", "--skip-serve-logs")}) as stack:
        stack.dags.write("patience.py", PATIENCE)
        stack.dags.write("endless.py", ENDLESS)
        yield stack


def test_a_deferred_task_survives_the_death_of_every_triggerer(airflow: AirflowStack) -> None:
    run = airflow.start_run("patience")
    airflow.wait_for_task(run, "wait", "deferred")
    for name in (TRIGGERER, SECOND_TRIGGERER):
        airflow.kill(name)
    for name in (TRIGGERER, SECOND_TRIGGERER):
        airflow.restart(name)
    assert airflow.wait_for_run(run) == "success"
    assert airflow.api.xcom(run, "after", map_index=1) == {"number": 2}
    assert "the number is 2" in airflow.api.log(run, "after", try_number=1, map_index=1)
    assert airflow.api.xcom(run, "after", key="never_pushed", map_index=1) is None


def test_a_cleared_task_runs_again(airflow: AirflowStack) -> None:
    run = airflow.start_run("patience")
    assert airflow.wait_for_run(run) == "success"
    airflow.api.clear(run, ["after"])
    assert airflow.wait_for_run(run) == "success"
    tries = {instance.name: instance.try_number for instance in airflow.api.task_instances(run)}
    assert tries == {"wait": 1, "after[0]": 2, "after[1]": 2}


def test_a_killed_task_fails(airflow: AirflowStack) -> None:
    run = airflow.start_run("endless")
    airflow.wait_for_task(run, "work", "running")
    airflow.kill_task(run, "work")
    assert airflow.wait_for_run(run) == "failed"
    with pytest.raises(StackError, match="has no process here"):
        airflow.kill_task(run, "work")


def test_a_task_can_be_marked(airflow: AirflowStack) -> None:
    run = airflow.start_run("endless")
    airflow.wait_for_task(run, "work", "running")
    airflow.api.set_task_state(run, "work", "success")
    assert airflow.wait_for_run(run) == "success"


def test_many_may_change_something_at_once(airflow: AirflowStack) -> None:
    """On SQLite too, where Airflow's api-server would block itself until a request fails, see demo/write_queue.py."""
    airflow.start_run("patience")

    def start_and_end_runs(_: int) -> None:
        api = AirflowAPI(airflow.api.base_url)
        api.log_in()
        for _ in range(5):
            api.set_run_state(api.trigger("patience"), "success")
        api.close()

    with ThreadPoolExecutor() as threads:
        list(threads.map(start_and_end_runs, range(4)))


def test_a_dead_component_is_named_with_the_end_of_its_log(airflow: AirflowStack) -> None:
    airflow.check()
    airflow.component(SCHEDULER).send(signal.SIGKILL)
    airflow.component(SCHEDULER).wait(10)
    with pytest.raises(StackError, match=r"scheduler ended with status -9:\n(.|\n)*SchedulerJobRunner"):
        airflow.check()
    airflow.restart(SCHEDULER)
    airflow.check()


def test_the_orphans_of_a_killed_component_end_with_its_restart(airflow: AirflowStack) -> None:
    killed = airflow.component(SCHEDULER)
    assert len(killed.session()) > 1
    airflow.kill(SCHEDULER)
    airflow.restart(SCHEDULER)
    assert killed.session() == []


def test_a_restart_is_over_when_the_new_process_has_shown_life(airflow: AirflowStack) -> None:
    airflow.kill(SCHEDULER)
    airflow.restart(SCHEDULER)
    assert airflow.api.heartbeats()[SCHEDULER] >= airflow.component(SCHEDULER).started


def test_a_wait_in_vain_says_for_what(airflow: AirflowStack) -> None:
    with pytest.raises(StackError, match="a miracle: not within 0 s"):
        airflow.wait_for(lambda: False, what="a miracle", timeout=0)


def test_airflow_refuses_in_words(airflow: AirflowStack) -> None:
    with pytest.raises(AirflowAPIError, match="no_such_dag") as error:
        airflow.api.trigger("no_such_dag")
    assert error.value.status == 404


def test_connections_can_be_made_and_tested(airflow: AirflowStack) -> None:
    airflow.api.create_connection("files", "fs", extra="{}")
    assert airflow.api.get("/connections/files")["conn_type"] == "fs"
    is_good, message = airflow.api.test_connection("files", "no_such_type")
    assert not is_good
    assert "no_such_type" in message


def test_a_dag_that_cannot_be_imported_is_told_with_its_traceback(airflow: AirflowStack) -> None:
    airflow.dags.write("broken.py", "from airflow.sdk import dag\nno_such_name\n")
    with pytest.raises(StackError, match="no_such_name"):
        airflow.wait_for_dag("never_there")
    airflow.dags.write("broken.py", "")


def test_only_loopback_is_listened_on(airflow: AirflowStack) -> None:
    pids = [pid for name in COMPONENTS for pid in airflow.component(name).session()]
    listening = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_nothing_is_left_behind() -> None:
    with AirflowStack() as stack:
        stack.dags.write("endless.py", ENDLESS)
        run = stack.start_run("endless")
        pid = stack.wait_for_task(run, "work", "running").pid
        processes = [stack.component(name) for name in COMPONENTS]
        pids = [pid for process in processes for pid in process.session()]
        assert pid in pids
    assert [process.session() for process in processes] == [[], [], [], []]
    assert [pid for pid in pids if _runs(pid)] == []
    assert not stack.home.exists()


def test_a_component_that_does_not_start_is_named_and_nothing_is_left_behind() -> None:
    stack = AirflowStack(extra_components={"nonsense": ("no-such-command",)})
    with pytest.raises(StackError, match=r"nonsense ended with status 2:\n(.|\n)*no-such-command"), stack:
        pytest.fail("it cannot start")
    assert [process.session() for process in (stack.component(name) for name in COMPONENTS)] == [[], [], [], []]
    assert not stack.home.exists()


def test_a_database_that_cannot_be_used_is_told() -> None:
    stack = AirflowStack(sql_alchemy_conn="sqlite:////no/such/folder/airflow.db")
    with pytest.raises(StackError, match="airflow db migrate"), stack:
        pytest.fail("it cannot start")
    assert not stack.home.exists()


def test_the_folder_is_kept_if_somebody_wants_it() -> None:
    stack = AirflowStack(keep=True)
    stack.stop()
    assert stack.home.is_dir()
    _remove(stack.home)


def test_the_users_own_airflow_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", "together://:sk-real@")
    stack = AirflowStack()
    stack.stop()
    assert stack.environment["AIRFLOW__CORE__EXECUTOR"].endswith(".CountingLocalExecutor")
    assert "sk-real" not in str(stack.environment)


def _runs(pid: int) -> bool:
    """Whether a process is there; one that only waits to be reaped is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
