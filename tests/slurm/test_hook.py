"""The login host over ssh: who gets in, and that a job is submitted once whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airflow_provider_together.exceptions import ConfigurationError, LoginRefusedError, SpecError, TransientError
from airflow_provider_together.hooks.slurm import SlurmHook
from airflow_provider_together.jobs.slurm import job as slurm
from airflow_provider_together.jobs.slurm.job import Ending, JobWait, SlurmJob
from airflow_provider_together.jobs.slurm.programs import Submission
from airflow_provider_together.runtime import login_host
from airflow_provider_together.runtime.login_host import Address
from tests.slurm.conftest import CONNECTION, connect, hook_of
from tests.slurm.site import PASSPHRASE, Site, until

pytestmark = pytest.mark.slurm

T = TypeVar("T")


def at_login_host(address: Address, act: Callable[[SlurmHook], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        async with hook_of(address) as hook:
            return await act(hook)

    return asyncio.run(asyncio.wait_for(run(), timeout=90))


def job_of(request: pytest.FixtureRequest) -> SlurmJob:
    """Return the first attempt of a task that no other test has."""
    return SlurmJob(slurm.job_digest("c-1", "tests", request.node.nodeid), 1)


def submission(script: str) -> Submission:
    return Submission("tests", f"#!/bin/sh\n{script}\n")


async def submitted(hook: SlurmHook, job: SlurmJob, script: str = "true") -> SlurmJob:
    return await hook.submit(job, submission(script), token="try-1", deadline=time.time() + 60)


WORKER = """
import asyncio, json, os, sys, time
from airflow_provider_together.runtime.login_host import Address
from airflow_provider_together.hooks.slurm import SlurmHook
from airflow_provider_together.jobs.slurm.job import SlurmJob
from airflow_provider_together.jobs.slurm.programs import Submission

async def submit():
    async with SlurmHook(Address(**json.loads(sys.argv[1]))) as hook:
        job = SlurmJob(sys.argv[2], 1)
        await hook.submit(job, Submission("tests", "#!/bin/sh\\nsleep 1\\n"), token="try-1", deadline=time.time() + 60)

asyncio.run(submit())
"""


def test_a_worker_that_is_killed_between_sbatch_and_its_answer_leaves_one_job(
    site: Site, address: Address, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    job, before, pid = job_of(request), len(site.jobs()), tmp_path / "pid"
    command = ["/bin/sh", "-c", f'echo $$ >{pid}; exec "$0" "$@"', sys.executable, "-c", WORKER]
    command += [json.dumps(address.as_json()), job.digest]
    with site.hindered("sbatch", f'/usr/bin/sbatch "$@"; kill -9 "$(cat {pid})"; sleep 1'):
        worker = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert worker.returncode == -signal.SIGKILL, worker.stderr
    (left,) = site.jobs()[before:]

    async def follow(hook: SlurmHook) -> tuple[SlurmJob, Ending]:
        latest = await hook.latest(job.digest, deadline=time.time() + 60)
        found = latest.job_to_follow(job.digest) or await submitted(hook, latest.next_job(job.digest))
        return found, await hook.watch(found, JobWait(deadline=time.time() + 60), poll_interval=0.1)

    found, ending = at_login_host(address, follow)
    assert found.job_id == left.job_id
    assert ending == Ending("COMPLETED", 0, "None")
    assert len(site.jobs()[before:]) == 1


def test_a_session_that_dies_between_sbatch_and_its_note_leaves_one_job(
    site: Site, address: Address, request: pytest.FixtureRequest
) -> None:
    """The program that submits is killed itself, so that the job's name alone leads to the job."""
    before = len(site.jobs())
    script = (
        '[ -e ~/killed ] || { touch ~/killed; /usr/bin/sbatch --hold "$@"; kill -9 $(ps -o ppid= $PPID) $PPID; exit; }'
    )
    with site.hindered("sbatch", script):
        job = at_login_host(address, lambda hook: submitted(hook, job_of(request)))
    assert [one.job_id for one in site.jobs()[before:]] == [job.job_id]
    assert (site.home / "killed").exists()


def test_tries_that_submit_at_once_end_in_one_job(site: Site, address: Address, request: pytest.FixtureRequest) -> None:
    job, before = job_of(request), len(site.jobs())

    async def race(hook: SlurmHook) -> list[SlurmJob]:
        others = [hook_of(address) for _ in range(4)]
        try:
            return list(await asyncio.gather(*(submitted(one, job) for one in (hook, *others))))
        finally:
            for other in others:
                await other.close()

    with site.hindered("sbatch", 'sleep 0.3; exec /usr/bin/sbatch "$@"'):
        jobs = at_login_host(address, race)
    assert len({job.job_id for job in jobs}) == 1
    assert len(site.jobs()[before:]) == 1


def test_a_job_that_writes_faster_than_it_is_read_has_a_time_limit(
    site: Site, address: Address, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    del site
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.programs.OUTPUT_PIECE", 64)
    script = "while :; do printf '%064d\\n' 1; sleep 0.01; done"

    async def watch(hook: SlurmHook) -> Ending:
        job = await submitted(hook, job_of(request), script)
        wait = JobWait(deadline=time.time() + 3)
        return await hook.watch(job, wait, poll_interval=0.1, lines=slurm.Lines())

    assert at_login_host(address, watch) == Ending(slurm.TIMED_OUT)


def test_the_rest_of_a_long_output_is_shown_for_a_while_only(
    site: Site,
    address: Address,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.programs.OUTPUT_PIECE", 64)
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.flows.REST_SECONDS", 0.0)
    shown: list[str] = []

    async def watch(hook: SlurmHook) -> Ending:
        job = await submitted(hook, job_of(request), "seq 100000 100999")
        await asyncio.to_thread(until, lambda: site.state(job.job_id) == "COMPLETED")
        wait = JobWait(deadline=time.time())
        return await hook.watch(job, wait, poll_interval=0.1, lines=slurm.Lines(), say=shown.append)

    assert at_login_host(address, watch).state == "COMPLETED"
    assert shown[:1] == ["100000"]
    assert len(shown) < 100
    assert "is not shown: it is longer than there is time for" in caplog.text


def test_room_in_the_queue_is_waited_for_longer_than_an_answer(
    site: Site, address: Address, request: pytest.FixtureRequest
) -> None:
    script = '[ -e ~/full ] && exec /usr/bin/sbatch "$@"; touch ~/full; echo >&2 "sbatch: error: queue full"; exit 1'
    job = job_of(request)

    async def submit(hook: SlurmHook, busy_deadline: float) -> SlurmJob:
        return await hook.submit(job, submission("true"), token="t", deadline=0.0, busy_deadline=busy_deadline)

    with site.hindered("sbatch", script):
        with pytest.raises(TransientError, match="queue full"):
            at_login_host(address, lambda hook: submit(hook, 0.0))
        (site.home / "full").unlink()
        assert at_login_host(address, lambda hook: submit(hook, time.time() + 60)).job_id


def test_what_slurm_says_instead_of_an_answer_is_told_once(
    site: Site, address: Address, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def watch(hook: SlurmHook) -> Ending:
        job = await submitted(hook, job_of(request), "sleep 1")
        return await hook.watch(job, JobWait(deadline=time.time() + 60), poll_interval=0.1)

    script = """
        echo x >>~/looks
        [ "$(wc -l <~/looks)" -gt 3 ] && exec /usr/bin/scontrol "$@"
        echo >&2 'slurm_load_jobs error: Socket timed out on send/recv operation'
        exit 1
    """
    with site.hindered("scontrol", script):
        assert at_login_host(address, watch).state == "COMPLETED"
    assert caplog.text.count("slurm_load_jobs error: Socket timed out on send/recv operation") == 1
    assert "Slurm answers again" in caplog.text


def test_what_was_concluded_is_not_followed_again(site: Site, address: Address, request: pytest.FixtureRequest) -> None:
    del site

    async def conclude(hook: SlurmHook) -> slurm.Latest:
        job = await submitted(hook, job_of(request))
        await hook.conclude(job)
        return await hook.latest(job.digest, deadline=0.0)

    latest = at_login_host(address, conclude)
    assert latest.job_to_follow("x") is None
    assert latest.next_job("x").attempt == 2


def test_one_connection_serves_all_looks(site: Site, address: Address) -> None:
    before = [site.logins(name) for name in ("jump", "login")]

    async def look_often(hook: SlurmHook) -> None:
        await asyncio.gather(*(hook.latest("none", deadline=0.0) for _ in range(5)))
        await hook.latest("none", deadline=0.0)

    at_login_host(address, look_often)
    assert [site.logins(name) for name in ("jump", "login")] == [number + 1 for number in before]


def test_a_host_is_entered_directly_where_there_is_no_jump_host(site: Site, address: Address) -> None:
    before = [site.logins(name) for name in ("jump", "login")]
    at_login_host(replace(address, jump_host=""), lambda hook: hook.latest("none", deadline=0.0))
    assert [site.logins(name) for name in ("jump", "login")] == [before[0], before[1] + 1]


def test_a_user_whom_the_host_does_not_know_is_told(
    site: Site, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = (site.folder / "ssh/other").read_text()
    connect(monkeypatch, site, private_key=other, private_key_passphrase="")
    with pytest.raises(LoginRefusedError, match=r"the jump host 127\.0\.0\.1 port \d+ does not let '\w+' in"):
        at_login_host(address, lambda hook: hook.latest("none", deadline=0.0))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"private_key_passphrase": "wrong"}, "the private key cannot be read"),
        ({"private_key": "nonsense"}, "the private key cannot be read"),
        ({"private_key": "", "key_file": "/nowhere/key"}, "the private key cannot be read"),
    ],
)
def test_a_key_that_cannot_be_read_is_told_without_showing_it(
    site: Site, address: Address, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], message: str
) -> None:
    connect(monkeypatch, site, **extra)
    with pytest.raises(ConfigurationError, match=message) as caught:
        at_login_host(address, lambda hook: hook.latest("none", deadline=0.0))
    assert "nonsense" not in str(caught.value)
    assert PASSPHRASE not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host_key": "ssh-ed25519 nonsense"}, "host_key cannot be read"),
        ({"jump_host_key": "nonsense"}, "jump_host_key cannot be read"),
        ({"host_key": "", "known_hosts": "/nowhere/known_hosts"}, "known_hosts='/nowhere/known_hosts' cannot be read"),
    ],
)
def test_host_keys_that_cannot_be_read_are_told(
    site: Site, address: Address, fields: dict[str, str], message: str
) -> None:
    del site
    with pytest.raises(ConfigurationError, match=message):
        at_login_host(replace(address, **fields), lambda hook: hook.latest("none", deadline=0.0))  # type: ignore[arg-type]


def test_a_key_file_opens_the_door_as_well(
    site: Site, address: Address, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(site.private_key)
    connect(monkeypatch, site, private_key="", key_file=str(key))
    assert at_login_host(address, lambda hook: hook.latest("none", deadline=0.0)) == slurm.Latest()


def test_more_than_one_host_key_may_be_given_with_names_and_comments(site: Site, address: Address) -> None:
    keys = f"slurm-login {site.host_key('other')} old\n\n{site.host_key('login')} new\n"
    assert at_login_host(replace(address, host_key=keys), lambda hook: hook.latest("none", deadline=0.0))


def test_nobody_at_home_is_a_matter_for_another_time(site: Site, address: Address) -> None:
    del site
    with pytest.raises(TransientError, match=r"the login host 127\.0\.0\.1 does not answer"):
        at_login_host(replace(address, port=1), lambda hook: hook.latest("none", deadline=0.0))


def test_a_connection_that_does_not_exist_is_told(site: Site, address: Address) -> None:
    del site

    async def enter() -> None:
        async with SlurmHook(replace(address, ssh_conn_id="unknown")) as hook:
            await hook.latest("none", deadline=0.0)

    with pytest.raises(ConfigurationError, match="connection 'unknown' does not exist"):
        asyncio.run(enter())
    with pytest.raises(ConfigurationError, match="connection 'unknown' does not exist"):
        login_host.connection_of("unknown")


def test_a_cancellation_that_slurm_does_not_take_is_repeated(
    site: Site, address: Address, request: pytest.FixtureRequest
) -> None:
    script = '[ -e ~/refused ] || { touch ~/refused; echo "scancel: error"; exit 1; }; exec /usr/bin/scancel "$@"'

    async def cancel(hook: SlurmHook) -> SlurmJob:
        job = await submitted(hook, job_of(request), "sleep 60")
        with site.hindered("scancel", script):
            assert await hook.cancel(job, deadline=time.time() + 30) == ""
        return job

    job = at_login_host(address, cancel)
    until(lambda: site.state(job.job_id) == "CANCELLED")


def test_a_cancellation_that_cannot_be_is_told(address: Address, request: pytest.FixtureRequest) -> None:
    trouble = at_login_host(replace(address, port=1), lambda hook: hook.cancel(job_of(request)))
    assert "does not answer" in trouble


@pytest.mark.parametrize(
    ("jump_host", "jump"),
    [
        ("ssh.c.r.cloud.together.ai", ("me", "ssh.c.r.cloud.together.ai", 22)),
        ("host:2222", ("me", "host", 2222)),
        ("you@host", ("you", "host", 22)),
        ("you@[::1]:2222", ("you", "::1", 2222)),
    ],
)
def test_a_jump_host_is_written_as_for_ssh(jump_host: str, jump: tuple[str, str, int]) -> None:
    assert Address(login="me", jump_host=jump_host).jump == jump


@pytest.mark.parametrize("jump_host", ["a b", "host:port", "@host", "a@b@c", "-oProxyCommand=x y"])
def test_a_jump_host_that_cannot_be_read_is_told(jump_host: str) -> None:
    with pytest.raises(SpecError, match="write it like HOST"):
        _ = Address(login="me", jump_host=jump_host).jump


class TestWhereTheLoginHostIs:
    def at(self, **given: Any) -> Address:
        asked: list[str] = []

        def region() -> str:
            asked.append("region")
            return "us-central-8"

        connection = given.pop("connection", None)
        address = login_host.address_at(Address(**given), connection, cluster_id="c-1", region=region)
        assert bool(asked) == address.jump_host.endswith(".cloud.together.ai")  # only where it is needed
        return address

    def test_by_togethers_pattern_if_nothing_else_is_given(self) -> None:
        address = self.at(login="me")
        assert (address.host, address.jump_host) == ("slurm-login", "ssh.c-1.us-central-8.cloud.together.ai")

    def test_behind_the_jump_host_that_is_given(self) -> None:
        assert self.at(login="me", jump_host="jump").host == "slurm-login"

    def test_a_host_that_is_given_has_no_jump_host_unless_that_is_given_too(self) -> None:
        assert self.at(login="me", host="login").jump_host == ""

    def test_a_connection_completes_what_is_given(self, site: Site) -> None:
        connection = login_host.connection_of(CONNECTION)
        address = self.at(connection=connection, login="me", jump_host="you@jump")
        assert address.login == "me"
        assert address.jump == ("you", "jump", 22)
        assert (address.host, address.port) == ("127.0.0.1", site.login_port)
        assert address.host_key == site.host_key("login")

    def test_somebody_has_to_log_in(self) -> None:
        with pytest.raises(SpecError, match="login is missing"):
            self.at(host="login")

    def test_a_jump_host_is_checked_at_once(self) -> None:
        with pytest.raises(SpecError, match="jump_host="):
            self.at(login="me", host="login", jump_host="a b")


def test_an_address_holds_no_secret(site: Site, address: Address) -> None:
    text = json.dumps(address.as_json())
    assert PASSPHRASE not in text
    assert "PRIVATE KEY" not in text
    assert site.host_key("login") in text
    assert address.ssh_conn_id == CONNECTION
