"""
A cluster's login host over ssh: where it is, who it must be, who enters, and running a program on it.

One way for worker and triggerer, by asyncssh: the two hooks of Airflow's ssh provider read jump hosts, ports and known
hosts differently from each other. So of that provider the connection's form alone is used, and ``~/.ssh/config`` is not
read. A host whose key is not known is refused, unless the user says that the first one is to be accepted; then that is
the one from there on. It knows nothing of Slurm.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import asyncssh
from airflow.sdk.log import mask_secret

from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import AnswerLostError, ConfigurationError, LoginRefusedError, SpecError
from airflow_provider_together.runtime.compat.versions import AirflowNotFoundException, aget_connection, get_connection
from airflow_provider_together.runtime.missing_connection import missing_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

#: In place of a host's key: whatever it shows first. A cluster that was just made has keys that nobody has seen.
ACCEPT_NEW = "accept-new"
#: The login host's name within a cluster of Together's.
LOGIN_HOST = "slurm-login"
SSH_PORT = 22

#: Seconds for one of a connection's steps, and for one program's answer, which waits for Slurm and for a lock.
_CONNECT_SECONDS = 20.0
_ANSWER_SECONDS = 120.0
_KEEPALIVE_SECONDS = 15.0

#: Known hosts, where there are none: trusted keys, those of authorities, revoked ones.
_NOBODY: tuple[list[str], list[str], list[str]] = ([], [], [])

#: asyncssh tells of every channel that it opens; once per look that is too much for the log of a task.
asyncssh.set_log_level(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Address:
    """
    Where a login host is and who may enter; without a secret, so that a trigger's row may hold it.

    :param ssh_conn_id: Airflow connection of type ``ssh`` with the key, or empty for the keys of the user that Airflow
        runs as.
    :param login: user name there.
    :param host: the login host, as its jump host knows it.
    :param port: its port; 0 for the usual one.
    :param jump_host: ``[USER@]HOST[:PORT]``; empty to go there directly.
    :param host_key: the login host's public keys, one per line, such as ``ssh-ed25519 AAAA...``; or ``accept-new``.
    :param jump_host_key: the jump host's.
    :param known_hosts: a file of known hosts, for the host whose key is not given.
    """

    ssh_conn_id: str = ""
    login: str = ""
    host: str = ""
    port: int = 0
    jump_host: str = ""
    host_key: str = ""
    jump_host_key: str = ""
    known_hosts: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as a trigger's row holds it."""
        return asdict(self)

    @property
    def jump(self) -> tuple[str, str, int]:
        """
        User, host and port of the jump host.

        :raises SpecError: if it cannot be read.
        """
        match = re.fullmatch(r"(?:([^@\s]+)@)?(\[[^\]\s]+\]|[^:@\s]+)(?::(\d{1,5}))?", self.jump_host, re.ASCII)
        if match is None:
            raise SpecError([f"jump_host={self.jump_host!r} is wrong: write it like HOST, HOST:PORT or USER@HOST:PORT"])
        return match[1] or self.login, match[2].strip("[]"), int(match[3] or SSH_PORT)

    def completed(self, fields: Mapping[str, Any]) -> Self:
        """Return it with what is missing taken from elsewhere; what is given stays."""
        missing = {name: value for name, value in fields.items() if value and not getattr(self, name)}
        return replace(self, **missing)


def jump_host_of(cluster_id: str, region: str) -> str:
    """Return the jump host of a cluster, by the pattern that Together documents."""
    return f"ssh.{cluster_id}.{region}.cloud.together.ai"


@dataclass(frozen=True, slots=True, repr=False)
class _Secrets:
    """What opens a login host's door; in memory only."""

    key_file: str = ""
    private_key: str = ""
    passphrase: str = ""
    password: str = ""


def address_in(connection: Connection) -> dict[str, Any]:
    """
    Return what an Airflow connection of type ``ssh`` says of an :class:`Address`.

    :raises ConfigurationError: if it wants host keys not to be checked.
    """
    extra = connection.extra_dejson
    for name in ("no_host_key_check", "allow_host_key_change", "ignore_hostkey_verification"):
        if str(extra.get(name, "")).lower() == "true":
            message = (
                f"connection {connection.conn_id!r}: {name} is true, but a login host is never entered unchecked: "
                "give host_key and jump_host_key, or known_hosts"
            )
            raise ConfigurationError(message)
    found = {name: extra.get(name) for name in ("jump_host", "host_key", "jump_host_key", "known_hosts")}
    return {**found, "login": connection.login, "host": connection.host, "port": connection.port}


def address_at(
    given: Address, connection: Connection | None, *, cluster_id: str, region: Callable[[], str | None]
) -> Address:
    """
    Return where a cluster's login host is: as it is given, as the connection says, or else by Together's pattern.

    :param region: tells the cluster's region, if that is needed.
    :raises SpecError: if nobody can say who is to log in, or where.
    """
    address = given if connection is None else given.completed(address_in(connection))
    if not address.host:
        jump_host = address.jump_host or jump_host_of(cluster_id, region() or "")
        address = replace(address, host=LOGIN_HOST, jump_host=jump_host)
    if not address.login:
        raise SpecError([f"login is missing: connection {address.ssh_conn_id!r} has none either"])
    if address.jump_host:
        _ = address.jump
    return address


def _secrets_in(connection: Connection) -> _Secrets:
    extra = connection.extra_dejson
    secrets = _Secrets(
        key_file=str(extra.get("key_file") or ""),
        private_key=str(extra.get("private_key") or ""),
        passphrase=str(extra.get("private_key_passphrase") or extra.get("passphrase") or ""),
        password=connection.password or "",
    )
    for secret in (secrets.private_key, secrets.passphrase, secrets.password):
        if secret:
            mask_secret(secret)
    return secrets


class LoginHost:
    """
    A login host, entered when something is to be run there, and again after the connection was lost.

    It belongs to one event loop.

    :param address: where it is; the keys of hosts whose first one was accepted are in it from then on.
    :param connection: the address's Airflow connection, where it was read already.
    """

    def __init__(self, address: Address, connection: Connection | None = None) -> None:
        self.address = address
        self._airflow_connection = connection
        self._connection: asyncssh.SSHClientConnection | None = None
        self._jump: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Leave the login host."""
        for connection in (self._connection, self._jump):
            if connection is not None:
                connection.abort()
        self._connection = self._jump = None

    async def run(self, program: str) -> bytes:
        """
        Run a program on the login host and return its answer.

        :raises TransientError: if there is no answer, or none that is whole. The program may have run.
        :raises ConfigurationError: if the login host must not be entered.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = await self._connected()
                done = await connection.run("/bin/sh", input=program.encode(), encoding=None, check=False)
        except (OSError, asyncssh.Error, TimeoutError) as error:
            await self.close()
            message = f"the login host {self.address.host} does not answer: {_words(error)}"
            raise AnswerLostError(message) from None
        if done.exit_status != 0:
            message = f"the login host {self.address.host} has not finished its answer: {_text(done.stderr)!r}"
            raise AnswerLostError(message)
        return done.stdout if isinstance(done.stdout, bytes) else b""

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                await self.close()
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        address, secrets = self.address, _Secrets()
        if address.ssh_conn_id:
            secrets = _secrets_in(self._airflow_connection or await _connection_of(address.ssh_conn_id))
        options = await asyncio.to_thread(_credentials, secrets)
        if address.jump_host:
            login, host, port = address.jump
            door = ("jump host", host, port, login, address.jump_host_key)
            self._jump, key = await _enter(*door, address, options)
            self.address = replace(self.address, jump_host_key=key)
        door = ("login host", address.host, address.port or SSH_PORT, address.login, address.host_key)
        entered, key = await _enter(*door, address, options, via=self._jump)
        self.address = replace(self.address, host_key=key)
        return entered


def connection_of(conn_id: str) -> Connection:
    """
    Return an Airflow connection, in a worker.

    :raises ConfigurationError: if there is none.
    """
    try:
        return get_connection(conn_id)
    except AirflowNotFoundException:
        raise _missing(conn_id) from None


async def _connection_of(conn_id: str) -> Connection:
    try:
        return await aget_connection(conn_id)
    except AirflowNotFoundException:
        raise _missing(conn_id) from None


def _missing(conn_id: str) -> ConfigurationError:
    return missing_connection(
        conn_id, conn_type="ssh", holds="login and private key", options="--conn-login LOGIN --conn-extra JSON"
    )


class _Doorkeeper(asyncssh.SSHClient):
    """
    Refuses a host whose key is not known, and keeps which key it showed.

    :param accepts: whether to let it pass all the same.
    """

    def __init__(self, *, accepts: bool) -> None:
        self.accepts = accepts
        self.shown = ""
        self.public_key = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        self.shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
        self.public_key = key.export_public_key().decode().strip()
        return self.accepts


async def _enter(  # noqa: PLR0913, PLR0917 - who enters, where, and who it must be
    what: str,
    host: str,
    port: int,
    login: str,
    host_key: str,
    address: Address,
    credentials: Mapping[str, Any],
    via: asyncssh.SSHClientConnection | None = None,
) -> tuple[asyncssh.SSHClientConnection, str]:
    """Return a connection, and the key by which the host is known from now on."""
    setting = "host_key" if what == "login host" else "jump_host_key"
    accepts = host_key.strip() == ACCEPT_NEW
    known = _NOBODY if accepts else await asyncio.to_thread(_known_hosts, host_key, address.known_hosts, setting)
    doorkeeper = _Doorkeeper(accepts=accepts)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await asyncssh.connect(
                host,
                port,
                username=login,
                tunnel=via or (),
                known_hosts=known,
                client_factory=lambda: doorkeeper,
                config=None,
                keepalive_interval=_KEEPALIVE_SECONDS,
                **credentials,
            )
    except asyncssh.HostKeyNotVerifiable:
        message = (
            f"the {what} {host} port {port} is refused, since its key {doorkeeper.shown or '(none)'} is not known: "
            f"set {setting} to the host's public key, or known_hosts to a file that holds it"
        )
        raise ConfigurationError(message) from None
    except asyncssh.PermissionDenied as error:
        message = f"the {what} {host} port {port} does not let {login!r} in: {printable(error.reason)}"
        raise LoginRefusedError(message) from None
    if accepts:
        log.warning("The %s %s is taken to be the one with the key %s.", what, host, doorkeeper.shown)
    return connection, doorkeeper.public_key if accepts else host_key


def _credentials(secrets: _Secrets) -> dict[str, Any]:
    """
    Return what asyncssh needs to log in. It reads files, and opening a key takes a while by intention.

    :raises ConfigurationError: if the key cannot be read.
    """
    options: dict[str, Any] = {"password": secrets.password} if secrets.password else {}
    passphrase = secrets.passphrase or None
    try:
        if secrets.private_key:
            options["client_keys"] = [asyncssh.import_private_key(secrets.private_key, passphrase)]
        elif secrets.key_file:
            path = Path(secrets.key_file).expanduser()
            options["client_keys"] = [asyncssh.read_private_key(path, passphrase)]
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        message = f"the private key cannot be read: {_words(error)}"
        raise ConfigurationError(message) from None
    return options


def _known_hosts(host_key: str, path: str, setting: str) -> Any:
    """
    Return the keys that a host may show: the given ones, or else those in a file.

    :raises ConfigurationError: if they cannot be read.
    """
    try:
        if host_key.strip():
            lines = [line for line in host_key.splitlines() if line.strip()]
            return ([asyncssh.import_public_key(_two_words(line)) for line in lines], [], [])
        file = Path(path or "~/.ssh/known_hosts").expanduser()
        return asyncssh.read_known_hosts(str(file)) if path or file.is_file() else _NOBODY
    except (OSError, ValueError) as error:
        what = setting if host_key.strip() else f"known_hosts={path!r}"
        message = f"{what} cannot be read: {_words(error)}"
        raise ConfigurationError(message) from None


def _two_words(line: str) -> str:
    """Return type and data of a public key, without the name of a host before them or a comment behind."""
    match = re.search(r"\b((?:ssh-|ecdsa-|sk-)\S+)\s+(\S+)", line)
    return f"{match[1]} {match[2]}" if match else line


def _words(error: BaseException) -> str:
    return printable(" ".join(str(error).split())) or type(error).__name__


def _text(output: Any) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else str(output or "")
