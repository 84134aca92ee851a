"""
A private Slurm of two nodes with eight pretended GPUs each, and the two ssh servers in front of it.

The programs are Debian's (slurm-wlm, munge, openssh-server), started as the user who runs the tests, in a folder of
their own, on loopback only; a Slurm and an ssh server of the machine are left alone. The jump host and the login host
are two servers with a host key each, as at Together. The home of those who log in lies in the folder as well.

It imports nothing of Airflow.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_together.demo.process import LoggedProcess, stop_all

LOOPBACK = "127.0.0.1"
NODES = 2
GPUS = 8
PASSPHRASE = "canary-passphrase-8f2c"

_INSTALL = "apt-get install -y --no-install-recommends slurm-wlm munge openssh-server"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOOK_INTERVAL = 0.05

_SLURM_CONF = """\
ClusterName=tests
SlurmctldHost=localhost({loopback})
SlurmctldPort={controller_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser={user}
SlurmdUser={user}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobRequeue=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=2
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
MinJobAge={min_job_age}
KillWait=5
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

_SSHD_CONF = """\
ListenAddress {loopback}:{port}
HostKey {folder}/ssh/{name}
PidFile none
AuthorizedKeysFile {folder}/ssh/authorized_keys
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
LogLevel DEBUG1
MaxStartups 100:30:200
MaxSessions 50
SetEnv HOME={home} SLURM_CONF={folder}/slurm.conf PATH={folder}/bin:/usr/bin:/bin
"""


_SHIM = """\
#!/bin/sh
hang_up() {{
    process=$PPID
    until grep -q '^sshd' "/proc/$process/comm"; do
        process=$(sed 's/^[0-9]* (.*) . \\([0-9]*\\) .*/\\1/' "/proc/$process/stat")
    done
    kill -9 "$process"
}}
{script}
"""


class SiteError(Exception):
    """A program is not installed, or does not start."""


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job."""

    job_id: str
    name: str
    state: str
    reason: str


class Site:
    """
    The servers, each of which can be stopped and started again.

    :param folder: an empty folder that is ours alone.
    :param min_job_age: seconds that Slurm remembers a finished job. Tests count what has come to the list of jobs, so
        that none may leave it while they run, however slow the machine is.
    """

    def __init__(self, folder: Path, *, min_job_age: int = 86400) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.user = getpass.getuser()
        self.controller_port, *self._node_ports, self.jump_port, self.login_port = _free_ports(NODES + 3)
        self._min_job_age = min_job_age
        self._processes: dict[str, LoggedProcess] = {}
        self._environment = {"PATH": _PATH, "HOME": str(self.home), "SLURM_CONF": str(folder / "slurm.conf")}

    # --- life ---

    def start(self) -> None:
        """
        Start everything and wait until Slurm has its nodes and the login host answers.

        :raises SiteError: if something is not installed or does not start.
        """
        self.folder.chmod(0o711)  # munged insists on it
        _check_installed("munged", "slurmctld", "slurmd", "sshd", "sbatch", "ssh-keygen")
        for name in ("munge", "state", "ssh", "home", "bin", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir(mode=0o755)
        self._write_configuration()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
        self.start_server("munged")
        _until((self.folder / "munge/socket").exists, self._report)
        self.start_server("slurmctld")
        for node in self.nodes:
            self.start_server(f"slurmd.{node}")
        self.start_server("jump")
        self.start_server("login")
        _until(lambda: self._slurm("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * NODES, self._report)

    def stop(self) -> None:
        """Cancel all jobs, stop all servers, and leave no process."""
        self.cancel_all()
        # The daemons last of all, since they end what the jobs have left.
        for names in (("jump", "login"), ("slurmctld",), tuple(f"slurmd.{node}" for node in self.nodes), ("munged",)):
            stop_all([self._processes[name] for name in names if name in self._processes], grace=_STOP_SECONDS)
        for process in self.leftovers():
            process.kill()

    def leftovers(self) -> list[psutil.Process]:
        """Return the live processes that were started for this site, by their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = str(self.folder) in process.environ().get("SLURM_CONF", "")
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def start_server(self, name: str) -> None:
        """Start ``munged``, ``slurmctld``, ``slurmd.NODE``, ``jump`` or ``login``; the latter two answer then."""
        self._processes[name] = LoggedProcess(
            self._command(name), environment=self._environment, folder=self.folder, log_file=self.folder / f"{name}.out"
        )

        if port := {"jump": self.jump_port, "login": self.login_port}.get(name):
            _until(lambda: _answers(port), self._report)

    def stop_server(self, name: str) -> None:
        """Stop a server; connections that sshd serves in processes of their own end as well."""
        sessions = psutil.Process(self._processes[name].pid).children(recursive=True)
        stop_all([self._processes[name]], grace=_STOP_SECONDS)
        for process in sessions:
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("sshd"):
                    process.kill()

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes."""
        return [f"node{number}" for number in range(1, NODES + 1)]

    # --- what can go wrong ---

    @contextmanager
    def hindered(self, command: str, script: str) -> Iterator[None]:
        """
        Let those who log in run something else than a command of Slurm's.

        :param script: shell; the real command is ``/usr/bin/COMMAND "$@"``, and ``hang_up`` ends the ssh session.
        """
        shim = self.folder / "bin" / command
        shim.write_text(_SHIM.format(script=script))
        shim.chmod(0o755)
        try:
            yield
        finally:
            shim.unlink()

    # --- what Slurm does ---

    def jobs(self) -> list[Job]:
        """Return all jobs that Slurm remembers."""
        rows = self._slurm("squeue", "-h", "-t", "all", "-S", "i", "-o", "%i|%j|%T|%r").splitlines()
        return [Job(*row.split("|")) for row in rows]

    def state(self, job_id: str) -> str:
        """Return the state of a job; empty if Slurm does not know it."""
        return next((job.state for job in self.jobs() if job.job_id == job_id), "")

    def cancel(self, job_id: str) -> None:
        """Cancel a job, as somebody on the login host would."""
        self._slurm("scancel", job_id)

    def cancel_all(self) -> None:
        """Cancel all jobs and wait until they have ended."""
        if "slurmctld" not in self._processes or self._processes["slurmctld"].exit_status is not None:
            return
        self._slurm("scancel", "--user", self.user)
        _until(lambda: self._slurm("squeue", "-h") == "", self._report)

    # --- how to get in ---

    def connection(self, **extra: Any) -> dict[str, Any]:
        """Return an Airflow connection to the login host behind the jump host, with the keys of both."""
        return {
            "conn_type": "ssh",
            "host": LOOPBACK,
            "port": self.login_port,
            "login": self.user,
            "extra": {
                "private_key": self.private_key,
                "private_key_passphrase": PASSPHRASE,
                "host_key": self.host_key("login"),
                "jump_host": f"{LOOPBACK}:{self.jump_port}",
                "jump_host_key": self.host_key("jump"),
                **extra,
            },
        }

    @property
    def private_key(self) -> str:
        """The key of the user, locked by :data:`PASSPHRASE`."""
        return (self.folder / "ssh/user").read_text()

    def host_key(self, name: str) -> str:
        """Return the public key of a server: ``jump``, ``login``, or ``other``, which nobody has."""
        return " ".join((self.folder / f"ssh/{name}.pub").read_text().split()[:2])

    def logins(self, name: str) -> int:
        """Return how many have logged in at a server so far."""
        log = self.folder / f"{name}.log"
        return log.read_text().count("Accepted publickey") if log.exists() else 0

    def forwarded(self) -> int:
        """Return how many connections to the login host the jump host has made so far."""
        wanted = f"target {LOOPBACK} port {self.login_port}"
        return sum(
            "server_request_direct_tcpip" in line and wanted in line
            for line in (self.folder / "jump.log").read_text().splitlines()
        )

    # --- inside ---

    def _command(self, name: str) -> list[str]:
        program, _, node = name.partition(".")
        configuration = str(self.folder / "slurm.conf")
        munge = self.folder / "munge"
        commands = {
            "munged": [
                *("--foreground", "--num-threads=1", f"--key-file={munge}/key", f"--socket={munge}/socket"),
                *(f"--pid-file={munge}/pid", f"--seed-file={munge}/seed", f"--log-file={self.folder}/munged.log"),
            ],
            "slurmctld": ["-D", "-f", configuration],
            "slurmd": ["-D", "-N", node, "-f", configuration],
        }
        if program in commands:
            return [f"/usr/sbin/{program}", *commands[program]]
        return ["/usr/sbin/sshd", "-D", "-f", f"{self.folder}/ssh/{name}.conf", "-E", f"{self.folder}/{name}.log"]

    def _write_configuration(self) -> None:
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName={node} NodeAddr={LOOPBACK} NodeHostname={host} Port={port} CPUs=8 RealMemory=4000 "
            f"Gres=gpu:pretended:{GPUS} State=UNKNOWN"
            for node, port in zip(self.nodes, self._node_ports, strict=True)
        ]
        values = {
            "loopback": LOOPBACK,
            "folder": self.folder,
            "home": self.home,
            "user": self.user,
            "controller_port": self.controller_port,
            "min_job_age": self._min_job_age,
            "nodes": "\n".join(nodes),
        }
        (self.folder / "slurm.conf").write_text(_SLURM_CONF.format(**values))
        (self.folder / "gres.conf").write_text("".join(self._pretend_gpus()))
        for name in ("jump", "login", "other"):
            _make_key(self.folder / "ssh" / name, passphrase="")
        _make_key(self.folder / "ssh/user", passphrase=PASSPHRASE)
        shutil.copy(self.folder / "ssh/user.pub", self.folder / "ssh/authorized_keys")
        for name, port in (("jump", self.jump_port), ("login", self.login_port)):
            (self.folder / f"ssh/{name}.conf").write_text(_SSHD_CONF.format(**values, name=name, port=port))

    def _pretend_gpus(self) -> Iterator[str]:
        """A GPU is a file of its own: Slurm counts them."""
        for node in self.nodes:
            for number in range(GPUS):
                file = self.folder / f"{node}.gpu{number}"
                file.touch()
                yield f"NodeName={node} Name=gpu Type=pretended File={file}\n"

    def _slurm(self, *command: str) -> str:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip() if done.returncode == 0 else f"{done.stdout}{done.stderr}"

    def _report(self) -> str:
        return "\n".join(f"{name}:\n{process.tail()}" for name, process in self._processes.items())


@contextmanager
def slurm_site(**options: Any) -> Iterator[Site]:
    """
    Lend a site.

    :raises SiteError: if it is not installed or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="together-slurm-", ignore_cleanup_errors=True) as folder:
        site = Site(Path(folder).resolve(), **options)
        try:
            site.start()
            yield site
        finally:
            site.stop()


def until(is_so: Callable[[], bool], *, what: str = "", seconds: float = _START_SECONDS) -> None:
    """
    Wait for something.

    :raises SiteError: if it does not come.
    """
    _until(is_so, lambda: what, seconds)


def _until(is_so: Callable[[], bool], report: Callable[[], str], seconds: float = _START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            message = f"not within {seconds:.0f} s: {report()}"
            raise SiteError(message)
        time.sleep(_LOOK_INTERVAL)


def _check_installed(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program, path=_PATH) is None]
    if missing:
        message = f"{', '.join(missing)} not installed: {_INSTALL}"
        raise SiteError(message)


def _make_key(path: Path, *, passphrase: str) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "tests", "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as server:
            return server.recv(4) == b"SSH-"
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    """Return ports that the kernel gives to nobody who connects, so that they stay free while a server is down."""
    found: list[int] = []
    candidates = random.sample(range(20000, 32000), 200)
    while len(found) < count:
        port = candidates.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            found.append(port)
    return found
