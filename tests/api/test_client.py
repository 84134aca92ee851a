"""
The two drivers: everything that touches the network, the clock or a thread.

What an answer means is tested without them; here it matters that they carry it out, each in the same way, and
that real sockets which misbehave end in the right error. Nothing leaves this machine.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from airflow_provider_together.api import client as client_module
from airflow_provider_together.api.call import Call, Flow, Note, Pause
from airflow_provider_together.api.client import (
    AsyncClient,
    Client,
    Clock,
    shared_async_client,
    shared_client,
)
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.api.flows import Creation, Identity, create_or_adopt
from airflow_provider_together.exceptions import (
    AnswerLostError,
    AuthenticationError,
    ConfigurationError,
    MalformedAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    TogetherError,
)
from tests.api.driving import Driving
from tests.api.loopback import Connection, Server, answer_ready, serving, tunnel_to, unused_port
from tests.api.support import CANARY_KEY, all_calls, call_with, reply_json, settings_with, spec_with

READY = reply_json({"cluster_id": "c-1", "status": "Ready"})


class Scripted:
    """A handler for scripted answers that keeps the requests; the last answer goes on for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


# one request


def test_every_operation_is_sent_as_it_is_described(driving: Driving, dialect: Dialect) -> None:
    for name, call in all_calls(dialect).items():
        handler = Scripted(httpx.Response(418, text="teapot"))
        with pytest.raises(RequestRefusedError, match="teapot"):
            driving.send(call, settings_with(dialect=dialect.name), handler=handler)
        (request,) = handler.requests
        assert (request.method, request.url.raw_path.decode()) == (call.method, call.path), name
        assert request.url.host == "together.invalid"
        assert request.headers["authorization"] == f"Bearer {CANARY_KEY}"
        assert request.headers["user-agent"] == "airflow-provider-together"
        assert (request.headers.get("content-type") == "application/json") == (call.body is not None)


def test_a_good_answer_is_returned(driving: Driving, dialect: Dialect) -> None:
    cluster = driving.send(dialect.get_cluster("c-1"), settings_with(), handler=READY)
    assert (cluster.cluster_id, cluster.status) == ("c-1", "Ready")
    assert driving.slept == []


def test_parameters_are_sent_and_none_are_left_out(driving: Driving) -> None:
    handler = Scripted(httpx.Response(200, json={"cluster_id": "c-1"}))
    driving.send(call_with(params={"projectId": "a&b"}), settings_with(), handler=handler)
    driving.send(call_with(), settings_with(), handler=handler)
    assert [request.url.query for request in handler.requests] == [b"projectId=a%26b", b""]


def test_a_quoted_id_arrives_quoted(driving: Driving, dialect: Dialect) -> None:
    handler = Scripted(httpx.Response(404))
    with pytest.raises(NotFoundError):
        driving.send(dialect.get_cluster("../a?b"), settings_with(), handler=handler)
    assert handler.requests[0].url.raw_path.endswith(b"/..%2Fa%3Fb")


def test_a_base_url_with_a_path_keeps_it(driving: Driving) -> None:
    handler = Scripted(httpx.Response(200, json={"cluster_id": "c-1"}))
    driving.send(call_with(), settings_with(base_url="https://gateway.invalid/together"), handler=handler)
    assert handler.requests[0].url.path == "/together/things/1"


# repetition


def test_a_call_is_repeated_with_pauses_until_it_succeeds(
    driving: Driving, dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    busy = httpx.Response(503, text="busy")
    handler = Scripted(busy, httpx.ConnectError("refused"), httpx.Response(200, json={"cluster_id": "c-1"}))
    assert driving.send(dialect.get_cluster("c-1"), settings_with(), handler=handler).cluster_id == "c-1"
    assert (len(handler.requests), len(driving.slept)) == (3, 2)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.split(" (")[0] for warning in warnings] == ["get GPU cluster c-1"] * 2
    assert all("; trying again in " in warning for warning in warnings)


def test_a_call_that_never_succeeds_ends_in_its_own_error(driving: Driving) -> None:
    handler = Scripted(httpx.Response(503))
    with pytest.raises(ServerError):
        driving.send(call_with(), settings_with(retries=3), handler=handler)
    assert len(handler.requests) == 4


def test_a_create_whose_answer_is_lost_is_sent_once(driving: Driving, dialect: Dialect) -> None:
    handler = Scripted(httpx.ReadTimeout("timed out"))
    with pytest.raises(OutcomeUnknownError):
        driving.send(dialect.create_cluster(spec_with()), settings_with(), handler=handler)
    assert (len(handler.requests), driving.slept) == (1, [])


def test_a_server_that_asks_for_patience_gets_it(driving: Driving, dialect: Dialect) -> None:
    handler = Scripted(
        httpx.Response(429, headers={"retry-after": "17"}), httpx.Response(200, json={"cluster_id": "c"})
    )
    driving.send(dialect.create_cluster(spec_with()), settings_with(), handler=handler)
    assert driving.slept == [17.0]


# flows


def test_a_flow_runs_the_same_on_both_drivers(driving: Driving, dialect: Dialect) -> None:
    handler = Scripted(
        httpx.Response(200, json={"clusters": []}),
        httpx.ReadTimeout("timed out"),
        httpx.Response(200, json={"clusters": []}),
        httpx.Response(200, json={"clusters": [{"cluster_id": "c-9", "cluster_name": "train"}]}),
    )
    flow = create_or_adopt(dialect, spec_with(), Identity(), if_exists="fail")
    creation = driving.run(flow, settings_with(), handler=handler)
    assert isinstance(creation, Creation)
    assert creation.cluster.cluster_id == "c-9"
    assert [request.method for request in handler.requests] == ["GET", "POST", "GET", "GET"]
    assert [type(note).__name__ for note in driving.noted] == ["Intent", "Note", "Created"]
    assert driving.slept == [1.0, 2.0]


def test_an_error_reaches_the_flow_which_may_go_on(driving: Driving) -> None:
    def flow() -> Flow[str]:
        try:
            yield from call_with()
        except NotFoundError as error:
            return f"caught {error.status}"
        return "nothing"

    assert driving.run(flow(), settings_with(), handler=reply_json({}, status=404)) == "caught 404"


def test_an_error_that_a_flow_does_not_catch_reaches_the_caller(driving: Driving, dialect: Dialect) -> None:
    flow = create_or_adopt(dialect, spec_with(), Identity(), if_exists="fail")
    with pytest.raises(AuthenticationError):
        driving.run(flow, settings_with(), handler=reply_json({}, status=401))


def test_a_pause_answers_with_the_time_and_takes_none_if_it_is_empty(driving: Driving) -> None:
    def flow() -> Flow[list[float]]:
        first = yield from Pause(0.0)
        return [first, (yield from Pause(5.0))]

    before = time.time()
    moments = driving.run(flow(), settings_with())
    assert driving.slept == [5.0]
    assert before - 1 < moments[0] <= moments[1]


def test_what_a_sleep_raises_ends_the_flow_and_lets_it_clean_up(driving: Driving) -> None:
    ended = []

    def flow() -> Flow[None]:
        try:
            yield from Pause(5)
        finally:
            ended.append(True)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driving.run(flow(), settings_with(), on_sleep=interrupt)
    assert ended == [True]


def test_notes_are_logged_unless_somebody_takes_them(caplog: pytest.LogCaptureFixture) -> None:
    def flow() -> Flow[None]:
        yield from Note("100 % done")

    async def run() -> None:
        async with AsyncClient(settings_with()) as client:
            await client.run(flow())

    caplog.set_level(logging.INFO, logger=client_module.__name__)
    with Client(settings_with()) as client:
        client.run(flow())
    asyncio.run(run())
    assert [record.message for record in caplog.records if record.name == client_module.__name__] == ["100 % done"] * 2


def test_a_cancelled_task_is_cancelled_and_its_flow_ended() -> None:
    ended: list[str] = []

    def flow() -> Flow[None]:
        try:
            yield from Pause(3600)
        finally:
            ended.append("flow")

    async def scenario() -> None:
        async with AsyncClient(settings_with()) as client:
            sleeping = asyncio.Event()

            async def sleep(seconds: float) -> None:
                sleeping.set()
                await asyncio.sleep(seconds)

            task = asyncio.create_task(client.run(flow(), sleep=sleep))
            await sleeping.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    assert ended == ["flow"]


def test_the_clock_tells_epoch_seconds_and_ignores_corrections(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    assert abs(clock() - time.time()) < 5
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock() > 1e9


# secrets and silence


@pytest.mark.parametrize(
    "handler",
    [
        lambda _: httpx.Response(401, json={"error": {"message": f"invalid key {CANARY_KEY}"}}),
        lambda _: httpx.Response(500, text=CANARY_KEY, headers={"x-request-id": CANARY_KEY}),
        lambda _: httpx.Response(302, headers={"location": f"https://x.invalid/{CANARY_KEY}"}),
        lambda _: httpx.Response(200, text=CANARY_KEY, headers={"cf-ray": CANARY_KEY}),
        Scripted(httpx.LocalProtocolError(f"Illegal header value b'Bearer {CANARY_KEY}'")),
        Scripted(httpx.ReadError("reset")),
    ],
)
def test_the_key_shows_up_in_no_error_and_no_log(
    driving: Driving, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(TogetherError) as caught:
        driving.send(call_with(), settings_with(), handler=handler)
    assert CANARY_KEY not in f"{caught.value} {caught.value!r} {vars(caught.value)} {caplog.text}"


def test_the_key_shows_up_in_no_client() -> None:
    with Client(settings_with()) as client:
        assert CANARY_KEY not in f"{client!r} {client.settings!r} {client.dialect!r} {vars(client)}"


def test_a_request_of_ours_is_not_logged_by_httpx_and_anybody_elses_is(
    driving: Driving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    driving.send(call_with(), settings_with(), handler=READY)
    assert not [record for record in caplog.records if record.name == "httpx" and record.levelno >= logging.INFO]
    with httpx.Client(transport=httpx.MockTransport(READY)) as others:
        others.get("https://together.invalid/others")
    assert [record for record in caplog.records if record.name == "httpx" and "/others" in record.message]


# settings that cannot be used


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dialect": "soap"}, "api='soap'"),
        ({"api_key": f"{CANARY_KEY}é"}, "UnicodeEncodeError"),
        ({"base_url": "https://\x00"}, "InvalidURL"),
        ({"verify": "/nowhere/ca.pem"}, "verify='/nowhere/ca.pem'"),
        ({"verify": __file__}, "verify="),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_is_sent(
    driving: Driving, changes: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        driving.send(call_with(), settings_with(**changes))
    assert named in str(caught.value)
    assert CANARY_KEY not in str(caught.value)


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_variable_that_cannot_be_used_is_told(
    driving: Driving, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="proxy variables"):
        driving.send(call_with(), settings_with())


# real sockets


def local(server: Server, **changes: Any) -> Any:
    return settings_with(base_url=server.url, **{"retries": 0, "timeout": 5.0, **changes})


def test_a_refused_connection_proves_that_nothing_was_sent(driving: Driving, dialect: Dialect) -> None:
    settings = settings_with(base_url=f"http://127.0.0.1:{unused_port()}", retries=1)
    with pytest.raises(NotSentError, match=r"Connection refused|connection attempts failed"):
        driving.send(dialect.create_cluster(spec_with()), settings)
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


@pytest.mark.parametrize(
    "serve", [close_at_once, reset_in_the_body, stop_in_the_body, never_answer, dribble, speak_nonsense]
)
def test_a_server_that_breaks_off_leaves_a_create_unknown_and_a_read_to_be_repeated(
    driving: Driving, dialect: Dialect, serve: Any
) -> None:
    with serving(serve) as server:
        with pytest.raises(OutcomeUnknownError):
            driving.send(dialect.create_cluster(spec_with()), local(server, timeout=0.2, retries=3))
        assert len(server.heads) == 1
        with pytest.raises(AnswerLostError):
            driving.send(dialect.get_cluster("c-1"), local(server, timeout=0.2, retries=1))
        assert len(server.heads) == 3


def test_headers_that_never_end_are_bounded_too() -> None:
    with (
        serving(dribble_in_the_headers) as server,
        pytest.raises(AnswerLostError, match=r"more than 0\.4 s as a whole"),
    ):
        Driving("async").send(call_with(), local(server, timeout=0.2))


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


@pytest.mark.parametrize("has_system_store", [True, False])
def test_without_a_bundle_some_authorities_are_known(monkeypatch: pytest.MonkeyPatch, has_system_store: bool) -> None:
    nowhere = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    somewhere = nowhere._replace(cafile="/etc/ca.pem")
    tls_context = client_module._tls_context.__wrapped__  # noqa: SLF001 - past its cache
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: somewhere if has_system_store else nowhere)
    context = tls_context("")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


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


# sharing and closing


def test_one_connection_has_one_shared_client() -> None:
    client = shared_client(settings_with())
    assert shared_client(settings_with()) is client
    assert shared_client(settings_with(api_key="other")) is not client


def test_a_shared_client_that_nobody_holds_ends_its_connections() -> None:
    ended = threading.Event()

    def serve(connection: Connection, server: Server) -> None:
        answer_on(connection, server)
        ended.set()

    with serving(serve) as server:
        client = shared_client(local(server))
        client.send(call_with())
        assert not ended.is_set()
        del client
        assert ended.wait(timeout=10)


def answer_on(connection: Connection, server: Server) -> None:
    """Answer every request on one connection."""
    while head := connection.read_head():
        server.heads.append(head)
        body = b'{"cluster_id": "c-1"}'
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_requests_of_one_client_share_a_connection() -> None:
    with serving(answer_on) as server, Client(local(server)) as client:
        for _ in range(3):
            client.send(call_with())
        assert (server.accepted, len(server.heads)) == (1, 3)


FORKING = """
import os, sys
from airflow_provider_together.api.client import shared_client
from airflow_provider_together.api.dialects import Compute
from airflow_provider_together.api.settings import Settings

settings = Settings(base_url=sys.argv[1], api_key="k", retries=0)
mine = shared_client(settings)
mine.send(Compute().get_cluster("parent"))
child = os.fork()
if child == 0:
    other = shared_client(settings)
    other.send(Compute().get_cluster("child"))
    os._exit(0 if other is not mine else 3)
_, status = os.waitpid(child, 0)
mine.send(Compute().get_cluster("parent"))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_has_a_connection_of_its_own() -> None:
    peers: dict[str, list[int]] = {}

    def serve(connection: Connection, _: Server) -> None:
        while head := connection.read_head():
            path = head.split()[1].decode().rsplit("/", 1)[-1]
            peers.setdefault(path, []).append(connection.sock.getpeername()[1])
            body = b'{"cluster_id": "c-1"}'
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with serving(serve) as server:
        subprocess.run([sys.executable, "-c", FORKING, server.url], check=True, timeout=60)
        assert server.accepted == 2
    # The parent goes on with its own connection after the child is gone.
    assert len(peers["parent"]) == 2
    assert set(peers["parent"]).isdisjoint(peers["child"])
    assert len(set(peers["parent"])) == 1


def is_closed(client: AsyncClient) -> bool:
    return client._http.is_closed  # noqa: SLF001 - a client that is closed tells it nowhere else


def test_the_borrowers_of_a_loop_share_a_client_that_the_last_one_closes() -> None:
    async def scenario() -> tuple[AsyncClient, bool]:
        async with shared_async_client(settings_with()) as first:
            async with shared_async_client(settings_with()) as second:
                assert second is first
                async with shared_async_client(settings_with(api_key="other")) as third:
                    assert third is not first
            is_open = not is_closed(first)
        async with shared_async_client(settings_with()) as fourth:
            assert fourth is not first
        return first, is_open

    client, was_open_for_the_last = asyncio.run(scenario())
    assert was_open_for_the_last
    assert is_closed(client)


def test_each_loop_has_its_own_client() -> None:
    both_are_there, found = threading.Barrier(2, timeout=30), list[AsyncClient]()

    async def borrow() -> None:
        async with shared_async_client(settings_with()) as client:
            both_are_there.wait()
            found.append(client)
            both_are_there.wait()

    threads = [threading.Thread(target=lambda: asyncio.run(borrow())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is not found[1]
    assert all(is_closed(client) for client in found)


def test_a_borrower_that_fails_gives_the_client_back() -> None:
    async def scenario() -> AsyncClient:
        kept: AsyncClient | None = None
        with pytest.raises(ZeroDivisionError):
            async with shared_async_client(settings_with()) as kept:
                raise ZeroDivisionError
        assert kept is not None
        return kept

    assert is_closed(asyncio.run(scenario()))


def test_a_borrower_that_is_cancelled_leaves_the_client_to_the_others() -> None:
    async def scenario() -> None:
        async with shared_async_client(settings_with()) as client:
            borrowed = asyncio.Event()

            async def borrow() -> None:
                async with shared_async_client(settings_with()):
                    borrowed.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(borrow())
            await borrowed.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not is_closed(client)

    asyncio.run(scenario())


def open_sockets() -> set[str]:
    targets = (str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return {target for target in targets if target.startswith("socket:")}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets through /proc")
@pytest.mark.parametrize("kind", ["sync", "async", "shared sync", "shared async"])
def test_no_socket_stays_open(kind: str) -> None:
    def use_shared_sync(settings: Any) -> None:
        shared_client(settings).send(call_with())

    async def use_shared_async(settings: Any) -> None:
        async with shared_async_client(settings) as client:
            await client.send(call_with())

    gc.collect()
    before = open_sockets()
    with serving(answer_on) as server:
        for _ in range(3):
            if kind == "shared sync":
                use_shared_sync(local(server))
            elif kind == "shared async":
                asyncio.run(use_shared_async(local(server)))
            else:
                Driving(kind).send(call_with(), local(server))
    gc.collect()
    assert open_sockets() <= before


def test_a_call_is_typed_by_what_it_reads() -> None:
    call: Call[int] = call_with(read=len)
    with Client(settings_with(), transport=httpx.MockTransport(READY)) as client:
        assert client.send(call) == 2


def test_a_rate_limit_is_told_after_the_last_attempt(driving: Driving) -> None:
    with pytest.raises(RateLimitError, match="answered 429"):
        driving.send(call_with().once(), settings_with(), handler=reply_json({}, status=429))
