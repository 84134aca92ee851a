"""
The two drivers with scripted answers: what they send, repeat, run, log and refuse.

What an answer means is tested without them; here it matters that they carry it out, each in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import httpx
import pytest

from airflow_provider_together.api import client as client_module
from airflow_provider_together.api.call import Ask, Call, Flow, Note, Pause, Save
from airflow_provider_together.api.client import (
    AsyncClient,
    Client,
    Clock,
)
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import (
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    TogetherError,
)
from airflow_provider_together.lifecycle.create import create_or_adopt
from airflow_provider_together.lifecycle.owner import Creation, Identity
from tests.support.driving import Driving, Script
from tests.support.engine import CANARY_KEY, all_calls, call_with, reply_json, settings_with, spec_with

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
    flow = create_or_adopt(dialect, spec_with(), Identity(), Script([]), if_exists="fail")
    creation = driving.run(flow, settings_with(), handler=handler)
    assert isinstance(creation, Creation)
    assert creation.cluster.cluster_id == "c-9"
    assert [request.method for request in handler.requests] == ["GET", "POST", "GET", "GET"]
    assert [type(note).__name__ for note in driving.noted] == ["Note", "Note", "Note"]
    assert driving.slept == [1.0, 2.0, 2.0]


def test_a_question_is_answered_and_what_is_saved_is_told_first(driving: Driving) -> None:
    said: list[str] = []

    def save() -> None:
        said.extend([*(f"told: {note.message}" for note in driving.noted), "saved"])

    def flow() -> Flow[int]:
        yield from Save(save, "about to save")
        return (yield from Ask(lambda: len(said)))

    assert driving.run(flow(), settings_with()) == 2
    assert said == ["told: about to save", "saved"]


def test_an_error_reaches_the_flow_which_may_go_on(driving: Driving) -> None:
    def flow() -> Flow[str]:
        try:
            yield from call_with()
        except NotFoundError as error:
            return f"caught {error.status}"
        return "nothing"

    assert driving.run(flow(), settings_with(), handler=reply_json({}, status=404)) == "caught 404"


def test_an_error_that_a_flow_does_not_catch_reaches_the_caller(driving: Driving, dialect: Dialect) -> None:
    flow = create_or_adopt(dialect, spec_with(), Identity(), Script([]), if_exists="fail")
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

    running = flow()  # held, so that it is not the garbage collector that ends it
    with pytest.raises(KeyboardInterrupt):
        driving.run(running, settings_with(), on_sleep=interrupt)
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

            task = asyncio.create_task(client.run(running, sleep=sleep))
            await sleeping.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    running = flow()
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
    caplog.set_level(logging.INFO, logger="httpx")  # Airflow, if it is there, lifts it
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


def test_a_call_is_typed_by_what_it_reads() -> None:
    call: Call[int] = call_with(read=len)
    with Client(settings_with(), transport=httpx.MockTransport(READY)) as client:
        assert client.send(call) == 2


def test_a_rate_limit_is_told_after_the_last_attempt(driving: Driving) -> None:
    with pytest.raises(RateLimitError, match="answered 429"):
        driving.send(call_with().once(), settings_with(), handler=reply_json({}, status=429))
