"""The command ``together-airflow``, as a person or a script calls it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.cli import main
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.runtime.registry import DEPLOYMENT_VARIABLE
from tests.provider.test_create_operator import run_create
from tests.provider.test_hook import SPEC

pytestmark = pytest.mark.one_api

COMMAND = [sys.executable, "-c", "import sys; from airflow_provider_together.cli import main; sys.exit(main())"]


@contextmanager
def closed_pipe() -> Iterator[IO[bytes]]:
    """A pipe that nobody reads any more, as after `| head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        yield closed


@dataclass(frozen=True)
class Done:
    """What a call of the command leaves: its exit status and what it has printed."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, answer: str = "") -> Done:
    """Call it within this process, which has Airflow imported already."""
    printed, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "stdin", io.StringIO(answer))
        patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")  # which the command sets, and this process must not keep
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(str(end.code))
    return Done(status, printed.getvalue(), errors.getvalue())


def run_alone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call it in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def cluster_id(emulator: Emulator) -> str:
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    emulator.advance(3600)
    return cluster.cluster_id


@pytest.mark.both_apis
def test_clusters_are_listed_for_people_and_for_programs(cluster_id: str) -> None:
    assert cluster_id in run("clusters", "list").stdout
    listed = json.loads(run("clusters", "list", "--json").stdout)
    assert [cluster["cluster_id"] for cluster in listed] == [cluster_id]


@pytest.mark.both_apis
def test_a_cluster_is_shown_without_its_kubeconfig(cluster_id: str) -> None:
    shown = json.loads(run("clusters", "show", cluster_id).stdout)
    assert shown["phase"] == "READY"
    assert "kube_config" not in shown


def test_a_cluster_is_deleted_only_after_its_id_was_typed(cluster_id: str, emulator: Emulator) -> None:
    refused = run("clusters", "delete", cluster_id, answer="yes\n")
    assert refused.returncode == 2
    assert len(emulator.alive()) == 1
    done = run("clusters", "delete", cluster_id, "--poll-interval", "0.1", answer=f"{cluster_id}\n")
    assert done.returncode == 0
    assert emulator.alive() == []


@pytest.mark.parametrize("api", ["compute"])  # the older API does not tell how a cluster is billed
def test_a_reservation_is_said_to_be_paid_for_before_it_is_deleted(emulator: Emulator) -> None:
    request = {**SPEC, "billing_type": "RESERVED", "duration_days": 7}
    cluster_id = TogetherHook().create_gpu_cluster(ClusterSpec.parse(request)).cluster_id
    refused = run("clusters", "delete", cluster_id, answer="\n")
    assert "RESERVED, paid until" in refused.stderr
    assert len(emulator.alive()) == 1


@pytest.mark.parametrize("price", ["-1", "nan", "inf", "cheap"])
def test_a_price_is_an_amount_of_money(price: str) -> None:
    refused = run("sweep", f"--price={price}")
    assert refused.returncode == 2
    assert "argument --price" in refused.stderr


def test_an_error_is_one_line_and_a_status(emulator: Emulator) -> None:
    del emulator
    failed = run_alone("clusters", "show", "no-such-cluster")
    assert failed.returncode == 1
    assert "together-airflow: get GPU cluster no-such-cluster" in failed.stderr
    assert "Traceback" not in failed.stderr


class TestSweep:
    @pytest.fixture
    def made(self, emulator: Emulator) -> str:
        """A cluster of a run that is over."""
        del emulator
        cluster_id: str = run_create().value("create")
        return cluster_id

    @pytest.mark.usefixtures("database")
    @pytest.mark.both_apis
    def test_it_names_what_is_forgotten_and_deletes_it_on_demand(self, made: str, emulator: Emulator) -> None:
        told = run("sweep", "--price", "2.5")
        assert told.returncode == 0
        assert f"({made}, " in told.stdout
        assert "is over (success)" in told.stdout
        assert "8 GPU-hours an hour (20.00 an hour)" in told.stdout
        assert "Nothing was deleted: give --delete." in told.stdout
        assert len(emulator.alive()) == 1
        done = run("sweep", "--delete", "--poll-interval", "0.1")
        assert done.returncode == 0
        assert "1 deleted" in done.stdout
        assert emulator.alive() == []

    @pytest.mark.usefixtures("database")
    def test_it_fails_when_something_cannot_be_deleted(self, made: str, emulator: Emulator) -> None:
        emulator.inject(Fault(route="delete_cluster", status=503, times=None))
        failed = run("sweep", "--delete", "--timeout", "1", "--poll-interval", "0.1")
        assert failed.returncode == 1
        assert f"not deleted: af-{deployment_of_tests()}" in failed.stdout
        assert made in failed.stdout

    def test_without_airflow_it_goes_by_the_end_of_life_alone(self, emulator: Emulator, tmp_path: Path) -> None:
        for lifetime in (timedelta(hours=-1), timedelta(hours=1)):
            name = ClusterName.of(Owner("prod", "dag", "run", "task"), now=datetime.now(UTC), lifetime=lifetime)
            TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "cluster_name": str(name)}))
        nowhere = {"AIRFLOW_HOME": str(tmp_path)}
        refused = run_alone("sweep", "--delete", **nowhere)
        assert refused.returncode == 2
        assert "give --deployment" in refused.stderr
        done = run_alone("sweep", "--delete", "--deployment", "prod", "--poll-interval", "0.1", **nowhere)
        assert done.returncode == 0
        assert "its life ended 59 min" in done.stdout or "its life ended 1 h" in done.stdout
        assert "nobody knows its owner" in done.stdout
        assert len(emulator.alive()) == 1

    def test_a_wrong_deployment_is_told(self, emulator: Emulator) -> None:
        del emulator
        failed = run("sweep", "--lifetime-only", "--deployment", "Prod!")
        assert failed.returncode == 1
        assert "deployment='Prod!'" in failed.stderr


def deployment_of_tests() -> str:
    from airflow.models.variable import Variable

    return str(Variable.get(DEPLOYMENT_VARIABLE))


def test_a_pipe_that_closes_is_no_failure_to_tell_of(emulator: Emulator, api: str) -> None:
    """As `clusters list | head -0` does it."""
    del emulator, api
    with closed_pipe() as closed:
        done = subprocess.run(
            [*COMMAND, "clusters", "list"], stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr


@pytest.mark.usefixtures("database")
def test_a_pipe_that_closes_stops_no_deletion(emulator: Emulator) -> None:
    """As `sweep --delete 2>&1 | head -0` does it: what is forgotten is billed, whether or not somebody reads on."""
    run_create()
    for task in ("one", "two"):
        owner = Owner(deployment_of_tests(), "dag", "run", task)
        name = ClusterName.of(owner, now=datetime.now(UTC), lifetime=timedelta(hours=-1))
        TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "cluster_name": str(name)}))
    assert len(emulator.alive()) == 3
    with closed_pipe() as closed:
        command = [*COMMAND, "sweep", "--delete", "--poll-interval", "0.1"]
        done = subprocess.run(command, stdout=closed, stderr=closed, timeout=120, check=False)
    assert (done.returncode, emulator.alive()) == (141, [])


def test_a_name_beyond_the_terminals_alphabet_is_shown_all_the_same(emulator: Emulator, api: str) -> None:
    TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "cluster_name": "größe"}))
    environment = {
        **os.environ,
        "AIRFLOW_CONN_TOGETHER_DEFAULT": emulator.connection(api=api),
        "PYTHONIOENCODING": "ascii",
    }
    command = [*COMMAND, "clusters", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, b"gr??e" in done.stdout or b"gr?" in done.stdout) == (0, True)


def test_an_alphabet_in_which_airflow_cannot_be_read_is_told_in_one_line(emulator: Emulator) -> None:
    del emulator
    done = run_alone("clusters", "list", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "together-airflow: Airflow cannot read its own files in ASCII: leave out PYTHONUTF8=0, or set LC_ALL=C.UTF-8"
    ]


def test_the_locale_c_is_no_obstacle(emulator: Emulator) -> None:
    del emulator
    TogetherHook().create_gpu_cluster(ClusterSpec.parse({**SPEC, "cluster_name": "größe"}))
    done = run_alone("clusters", "list", LC_ALL="C")
    assert (done.returncode, "größe" in done.stdout) == (0, True)


def test_a_name_of_others_forges_no_line_of_the_table(emulator: Emulator) -> None:
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    forged = "READY\n\x1b[2Jc-2  theirs"
    emulator.inject(Fault(route="list_clusters", kind="status_word", word=forged, times=None))
    lines = run("clusters", "list").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(cluster.cluster_id)
    assert "READY\ufffd\ufffd[2Jc-2  theirs" in lines[1]


def test_no_key_at_all_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch, database: None) -> None:
    del database
    monkeypatch.delenv("AIRFLOW_CONN_TOGETHER_DEFAULT", raising=False)
    done = run_alone("clusters", "list")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "or in the environment variable AIRFLOW_CONN_TOGETHER_DEFAULT; or set TOGETHER_API_KEY alone"
    )
