"""A request says what it wants, and an answer what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_together.exceptions import (
    AuthenticationError,
    MalformedAnswerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    SpecError,
)
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.api import is_conflict, read_answer

CALL = kubernetes_api.get_job("default", "train")


def status(message: str) -> bytes:
    return json.dumps({"kind": "Status", "message": message}).encode()


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (400, RequestRefusedError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ServerError),
        (423, ServerError),
        (422, RequestRefusedError),
        (302, RequestRefusedError),
        (408, ServerError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_a_status_is_an_error_of_its_kind(answered: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"read job 'train' .* answered {answered}: as it is") as caught:
        read_answer(CALL, answered, {}, status("as  it\nis"))
    assert type(caught.value) is kind


@pytest.mark.parametrize(("answered", "kind"), [(409, RequestRefusedError), (423, ServerError), (429, RateLimitError)])
def test_a_conflict_over_what_is_made_is_a_refusal(answered: int, kind: type[Exception]) -> None:
    create = kubernetes_api.create_job({"metadata": {"name": "train", "namespace": "default"}})
    error = kubernetes_api.error_for_status(create, answered, {}, b"")
    assert type(error) is kind
    assert is_conflict(error) is (answered == 409)


@pytest.mark.parametrize(
    "call",
    [
        kubernetes_api.get_job("default", "train"),
        kubernetes_api.list_pods("default", "train"),
        kubernetes_api.change_job("default", "train", {}),
        kubernetes_api.delete_job("default", "train"),
    ],
    ids=lambda call: call.what,
)
def test_a_conflict_over_what_is_there_passes(call: Any) -> None:
    assert type(kubernetes_api.error_for_status(call, 409, {}, b"")) is ServerError


def test_what_a_server_wrote_forges_no_line() -> None:
    error = kubernetes_api.error_for_status(CALL, 500, {}, status("no\n\x1b[2Jall is well"))
    assert str(error).endswith("answered 500: no \ufffd[2Jall is well")


def test_only_a_conflict_is_one() -> None:
    def is_one(answered: int) -> bool:
        return is_conflict(kubernetes_api.error_for_status(CALL, answered, {}, b""))

    assert [answered for answered in (400, 404, 409, 422, 429, 500) if is_one(answered)] == [409]


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), ("", None), ("-1", None)])
@pytest.mark.parametrize("answered", [429, 503])
def test_a_server_that_asks_for_time_is_heard(answered: int, header: str, seconds: float | None) -> None:
    error = kubernetes_api.error_for_status(CALL, answered, {"retry-after": header}, b"")
    assert getattr(error, "retry_after", "") == seconds


@pytest.mark.parametrize("content", [b"no json", b"[1]", b"\xff"])
def test_what_cannot_be_read_is_told(content: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        read_answer(CALL, 200, {}, content)


def test_of_a_list_the_objects_are_read() -> None:
    pods = kubernetes_api.list_pods("default", "train")
    assert read_answer(pods, 200, {}, b'{"items": [{"a": 1}, 7]}') == [{"a": 1}]
    assert read_answer(pods, 200, {}, b'{"items": null}') == []


@pytest.mark.parametrize(
    ("content", "said"), [(b"plain text", ": plain text"), (b"", ""), (b"{}", ""), (b"[]", ": []")]
)
def test_a_server_is_quoted_whatever_it_says(content: bytes, said: str) -> None:
    message = str(kubernetes_api.error_for_status(CALL, 500, {}, content))
    assert message.endswith(f"answered 500{said}")


def test_a_long_quotation_is_cut() -> None:
    assert len(str(kubernetes_api.error_for_status(CALL, 500, {}, b"x" * 10_000))) < 1000


def test_a_log_is_asked_for_as_it_is_wanted() -> None:
    call = kubernetes_api.read_log("default", "p", since="2026-01-01T00:00:00Z", limit=10, tail=5, follow=True)
    assert call.path == "/api/v1/namespaces/default/pods/p/log"
    assert call.params == {
        "container": "train",
        "timestamps": "true",
        "follow": "true",
        "sinceTime": "2026-01-01T00:00:00Z",
        "limitBytes": "10",
        "tailLines": "5",
    }
    assert kubernetes_api.read_log("default", "p").params == {"container": "train", "timestamps": "true"}
    assert read_answer(call, 200, {}, b"as it is") == b"as it is"


def test_a_deletion_takes_the_pods_with_it_and_spares_a_job_of_the_same_name() -> None:
    call: Any = kubernetes_api.delete_job("default", "train", uid="u1")
    assert call.body["propagationPolicy"] == "Foreground"
    assert call.body["preconditions"] == {"uid": "u1"}
    assert "preconditions" not in (kubernetes_api.delete_job("default", "train").body or {})


def test_a_pod_gets_the_time_to_end_that_is_wanted_and_spares_a_pod_of_the_same_name() -> None:
    call: Any = kubernetes_api.delete_pod("default", "p", uid="u1", grace=0)
    assert (call.body["preconditions"], call.body["gracePeriodSeconds"]) == ({"uid": "u1"}, 0)
    assert "gracePeriodSeconds" not in (kubernetes_api.delete_pod("default", "p", uid="u1").body or {})


def test_pods_of_earlier_tries_are_those_of_the_task_whose_outcome_nobody_knows() -> None:
    selector = kubernetes_api.list_pods_of_owner("default", "abc").params["labelSelector"]
    assert selector == "airflow-provider-together/owner=abc,already_checked!=True"


def test_events_of_one_pod_or_of_all_are_asked_for() -> None:
    assert kubernetes_api.list_pod_events("default").params["fieldSelector"] == "involvedObject.kind=Pod"
    assert kubernetes_api.list_pod_events("default", "p").params["fieldSelector"].endswith(",involvedObject.name=p")


def test_a_name_cannot_lead_to_another_path() -> None:
    assert kubernetes_api.get_pod("default", "a/b").path.endswith("/pods/a%2Fb")
    with pytest.raises(SpecError):
        kubernetes_api.get_pod("default", "..")
