"""
The two drivers on real sockets, where the transport itself is the subject: broken connections, TLS, proxies.

Nothing leaves this machine.
"""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from airflow_provider_together.api import client as client_module
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import (
    AnswerLostError,
    ConfigurationError,
    MalformedAnswerError,
    NotSentError,
    OutcomeUnknownError,
    RequestRefusedError,
)
from tests.support.driving import Driving
from tests.support.engine import CANARY_KEY, call_with, dialect_named, settings_with, spec_with
from tests.support.loopback import Connection, Server, answer_ready, serving, tunnel_to, unused_port

# Seconds, of connecting too: beside busier processes a fifth of one was not enough, and a create that was never sent is
# another matter than one whose outcome is unknown.
ENOUGH_TO_CONNECT = 1.5


def local(server: Server, **changes: Any) -> Any:
    return settings_with(base_url=server.url, **{"retries": 0, "timeout": 5.0, **changes})


def test_a_refused_connection_proves_that_nothing_was_sent(driving: Driving, dialect: Dialect) -> None:
    settings = settings_with(base_url=f"http://127.0.0.1:{unused_port()}", retries=1)
    with pytest.raises(NotSentError, match=r"Connection refused|connection attempts failed") as caught:
        driving.send(dialect.create_cluster(spec_with()), settings)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)  # one traceback in a log, not four
    assert len(driving.slept) == 1


def test_a_name_that_does_not_exist_proves_that_nothing_was_sent(driving: Driving, dialect: Dialect) -> None:
    with pytest.raises(NotSentError):
        driving.send(dialect.create_cluster(spec_with()), settings_with(base_url="https://together.invalid", retries=0))


def close_at_once(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())


def reset_in_the_body(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    connection.reset()


def stop_in_the_body(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


def never_answer(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())
    connection.stopping.wait(10)


def dribble(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())
    connection.dribble(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")


def dribble_in_the_headers(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())
    connection.dribble(b"HTTP/1.1 200 OK\r\nX-Long:")


def speak_nonsense(connection: Connection, server: Server) -> None:
    server.heads.append(connection.read_head())
    connection.sock.sendall(b"220 mail.invalid ESMTP\r\n\r\n")


@pytest.mark.parametrize("serve", [close_at_once, reset_in_the_body, stop_in_the_body, speak_nonsense])
def test_a_server_that_breaks_off_leaves_a_create_unknown_and_a_read_to_be_repeated(
    driving: Driving, dialect: Dialect, serve: Any
) -> None:
    with serving(serve) as server:
        with pytest.raises(OutcomeUnknownError):
            driving.send(dialect.create_cluster(spec_with()), local(server, retries=3))
        assert len(server.heads) == 1
        with pytest.raises(AnswerLostError):
            driving.send(dialect.get_cluster("c-1"), local(server, retries=1))
        assert len(server.heads) == 3


@pytest.mark.parametrize("serve", [never_answer, dribble])
def test_an_answer_that_does_not_come_leaves_a_create_unknown(driving: Driving, serve: Any) -> None:
    with serving(serve) as server:
        with pytest.raises(OutcomeUnknownError):
            driving.send(
                dialect_named("tcloud").create_cluster(spec_with()), local(server, timeout=ENOUGH_TO_CONNECT, retries=3)
            )
        assert len(server.heads) == 1


def test_an_answer_that_does_not_come_lets_a_read_be_repeated(driving: Driving) -> None:
    with serving(never_answer) as server:
        with pytest.raises(AnswerLostError):
            driving.send(
                dialect_named("tcloud").get_cluster("c-1"), local(server, timeout=ENOUGH_TO_CONNECT, retries=1)
            )
        assert len(server.heads) == 2


def test_headers_that_never_end_are_bounded_too() -> None:
    with (
        serving(dribble_in_the_headers) as server,
        pytest.raises(AnswerLostError, match=r"more than 3 s as a whole"),
    ):
        Driving("async").send(call_with(), local(server, timeout=ENOUGH_TO_CONNECT))


def test_an_answer_without_end_is_too_large(driving: Driving, monkeypatch: pytest.MonkeyPatch) -> None:
    def flood(connection: Connection, _: Server) -> None:
        connection.read_head()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not connection.stopping.is_set():
            connection.sock.sendall(b" " * 65536)

    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 2**20)
    with serving(flood) as server, pytest.raises(MalformedAnswerError, match="larger than 1048576 bytes"):
        driving.send(call_with(), local(server))


def test_a_body_that_is_not_what_its_encoding_says_is_malformed(driving: Driving) -> None:
    def serve(connection: Connection, _: Server) -> None:
        connection.read_head()
        connection.reply(b"no gzip", headers="Content-Encoding: gzip\r\n")

    with serving(serve) as server, pytest.raises(MalformedAnswerError, match="DecodingError"):
        driving.send(call_with(), local(server))


def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_shown(driving: Driving) -> None:
    with serving(answer_ready) as server, pytest.raises(ConfigurationError) as caught:
        driving.send(call_with(), local(server, api_key=f"{CANARY_KEY}\nx"))
    assert CANARY_KEY not in str(caught.value)


def test_the_target_of_a_redirect_never_sees_the_key(driving: Driving) -> None:
    with serving(answer_ready) as target:

        def redirect(connection: Connection, _: Server) -> None:
            connection.read_head()
            location = f"Location: http://localhost:{target.port}/elsewhere\r\n"
            connection.reply(b"", status="307 Temporary Redirect", headers=location)

        with serving(redirect) as server, pytest.raises(RequestRefusedError, match=rf"points to .*:{target.port}"):
            driving.send(call_with(), local(server))
        assert target.accepted == 0


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """The path of a bundle that holds the authority's certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Server]:
    """A TLS server for 127.0.0.1 and for a name that only a proxy can lead to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "together.invalid").configure_cert(context)
    with serving(answer_ready, tls=context) as server:
        yield server


def test_a_certificate_of_an_unknown_authority_is_refused_before_the_key_is_sent(
    driving: Driving, dialect: Dialect, secure: Server
) -> None:
    settings = settings_with(base_url=f"https://127.0.0.1:{secure.port}", retries=0)
    with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
        driving.send(dialect.create_cluster(spec_with()), settings)
    assert secure.heads == []


def test_a_bundle_that_knows_the_authority_makes_the_certificate_good(
    driving: Driving, dialect: Dialect, secure: Server, bundle: str
) -> None:
    settings = settings_with(base_url=f"https://127.0.0.1:{secure.port}", verify=bundle, retries=0)
    assert driving.send(dialect.get_cluster("c-1"), settings).status == "Ready"


def test_a_certificate_for_another_name_is_refused_even_so(driving: Driving, secure: Server, bundle: str) -> None:
    settings = settings_with(base_url=f"https://localhost:{secure.port}", verify=bundle, retries=0)
    with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
        driving.send(call_with(), settings)
    assert secure.heads == []


# proxies


def test_a_proxy_of_the_environment_is_used_and_sees_no_key(
    driving: Driving, secure: Server, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tunnel_to(secure.port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        settings = settings_with(base_url="https://together.invalid", verify=bundle, retries=0)
        assert driving.send(call_with(), settings).status == "Ready"
    assert [head.split(b"\r\n")[0] for head in proxy.heads] == [b"CONNECT together.invalid:443 HTTP/1.1"]
    assert CANARY_KEY.encode() not in proxy.heads[0]
    assert CANARY_KEY.encode() in secure.heads[0]


@pytest.mark.parametrize("no_proxy", ["localhost,127.0.0.1,::1,[::1]", "10.0.0.0/8,fd00::/8", "*.svc, .cluster.local"])
def test_a_proxy_is_used_whatever_the_machine_excepts_from_it(
    driving: Driving, secure: Server, bundle: str, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tunnel_to(secure.port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        settings = settings_with(base_url="https://together.invalid", verify=bundle, retries=0)
        assert driving.send(call_with(), settings).status == "Ready"
    assert proxy.accepted == 1


@pytest.mark.parametrize("no_proxy", ["together.invalid", "*.invalid", "[::1],.invalid", "INVALID:443", "*"])
def test_an_excepted_host_is_asked_without_the_proxy(
    driving: Driving, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer_ready) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        with pytest.raises(NotSentError):  # the name leads nowhere
            driving.send(call_with(), settings_with(base_url="https://together.invalid", retries=0))
        assert proxy.accepted == 0


def test_credentials_of_a_proxy_reach_the_proxy_and_nobody_else(
    driving: Driving, secure: Server, bundle: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(connection: Connection, server: Server) -> None:
        server.heads.append(connection.read_head())
        connection.reply(b"", status="407 Proxy Authentication Required")

    caplog.set_level(logging.DEBUG)
    user = base64.b64encode(b"me:pa55@canary").decode()
    settings = settings_with(base_url="https://together.invalid", verify=bundle, retries=0)
    with serving(tunnel_to(secure.port)) as proxy, serving(refuse) as strict:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://me:pa55%40canary@"))
        assert driving.send(call_with(), settings).status == "Ready"
        monkeypatch.setenv("HTTPS_PROXY", strict.url.replace("://", "://me:pa55%40canary@"))
        with pytest.raises(NotSentError) as caught:
            driving.send(call_with(), settings)
    assert f"Proxy-Authorization: Basic {user}".encode() in proxy.heads[0]
    shown = f"{caught.value} {caught.value.__cause__!r} {caplog.text}"
    assert [secret for secret in ("pa55", user) if secret in shown] == []
    assert user.encode() not in secure.heads[-1]


def test_a_proxy_that_refuses_proves_that_nothing_was_sent(
    driving: Driving, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: Connection, server: Server) -> None:
        server.heads.append(connection.read_head())
        connection.reply(b"", status="407 Proxy Authentication Required")

    with serving(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(NotSentError, match="407"):
            driving.send(dialect.create_cluster(spec_with()), settings_with(retries=1))
    assert len(proxy.heads) == 2


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_never_sees_what_stays_on_this_machine(
    driving: Driving, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answer_ready) as proxy, serving(answer_ready) as server:
        monkeypatch.setenv(variable, proxy.url)
        driving.send(call_with(), local(server))
        assert (proxy.accepted, server.accepted) == (0, 1)
