"""A connection means the same from wherever it comes, and a wrong one says which field is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_together.api.settings import Settings
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.hooks.connection import settings_from_connection, settings_from_environment
from airflow_provider_together.hooks.together import TogetherHook

KEY = "sk-canary-4242"


def read(**fields: Any) -> Settings:
    extra = fields.pop("extra", {})
    fields = {"conn_id": "gpus", "conn_type": "together", "password": KEY, **fields}
    return settings_from_connection(Connection(**fields, extra=json.dumps(extra)))


def test_an_empty_form_with_a_key_means_the_older_api_at_its_own_host() -> None:
    settings = read(host="", port=0, login="", schema="", extra={"api": None, "timeout": "", "verify": ""})
    assert settings == Settings(
        base_url="https://manager.cloud.together.ai", api_key=KEY, dialect="tcloud", label="connection 'gpus'"
    )


def test_the_form_a_uri_and_json_give_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    form = read(host="https://gpu.example.com", port=8443, extra={"api": "compute", "timeout": 12.5, "retries": 2})
    uri = f"together://:{KEY}@gpu.example.com:8443/?api=compute&timeout=12.5&retries=2"
    fields = {
        "conn_type": "together",
        "host": "gpu.example.com",
        "port": 8443,
        "password": KEY,
        "extra": {"api": "compute", "timeout": "12.5", "retries": "2"},
    }
    for text in (uri, json.dumps(fields)):
        monkeypatch.setenv("AIRFLOW_CONN_GPUS", text)
        assert TogetherHook("gpus").settings == form


def test_a_secrets_backend_gives_the_same_settings(tmp_path: Path) -> None:
    from airflow.secrets.local_filesystem import LocalFilesystemBackend

    path = tmp_path / "connections.json"
    path.write_text(json.dumps({"gpus": {"conn_type": "together", "password": KEY, "extra": {"api": "compute"}}}))
    connection = LocalFilesystemBackend(connections_file_path=str(path)).get_connection("gpus")
    assert connection is not None
    assert settings_from_connection(connection) == read(extra={"api": "compute"})


@pytest.mark.parametrize(
    ("fields", "base_url", "dialect"),
    [
        ({"host": "api.together.ai"}, "https://api.together.ai", "compute"),
        ({"host": "https://api.together.ai/"}, "https://api.together.ai", "compute"),
        ({"host": "manager.cloud.together.ai"}, "https://manager.cloud.together.ai", "tcloud"),
        ({"extra": {"api": "compute"}}, "https://api.together.ai", "compute"),
        ({"host": "http://127.0.0.1:8000"}, "http://127.0.0.1:8000", "tcloud"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8000}, "http://127.0.0.1:8000", "tcloud"),
        ({"host": "http://[::1]:8000"}, "http://[::1]:8000", "tcloud"),
    ],
)
def test_the_host_leads_to_an_address_and_maybe_to_the_dialect(
    fields: dict[str, Any], base_url: str, dialect: str
) -> None:
    settings = read(**fields)
    assert (settings.base_url, settings.dialect) == (base_url, dialect)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"conn_type": "http"}, ["conn_type='http'", "'together'"]),
        ({"password": ""}, ["password is empty", "TOGETHER_API_KEY"]),
        ({"password": "two words"}, ["password is wrong"]),
        ({"host": "ftp://gpu.example.com"}, ["host='ftp://gpu.example.com'", "https://"]),
        ({"host": "http://gpu.example.com"}, ["host='http://gpu.example.com'", "https"]),
        ({"host": "https://user:pw@gpu.example.com"}, ["host is wrong", "password field"]),
        ({"extra": {"api": "v3"}}, ["api='v3'", "tcloud", "compute"]),
        ({"extra": {"timeout": "soon"}}, ["timeout='soon'", "number"]),
        ({"extra": {"timeout": -1}}, ["timeout=-1"]),
        ({"extra": {"retries": 2.5}}, ["retries=2.5", "whole number"]),
        ({"extra": {"retries": True}}, ["retries=True"]),
        ({"extra": {"project_id": 7}}, ["project_id=7", "text"]),
        ({"extra": {"deployment": "Prod!"}}, ["deployment='Prod!'", "a-z"]),
        ({"extra": {"visibility": 0}}, ["visibility=0", "0.1 to 3600"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**fields)
    assert "connection 'gpus'" in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_wrong_field_never_shows_the_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(password=f"{KEY} twice")
    assert KEY not in str(caught.value)


def test_blanks_around_the_key_are_a_slip_of_the_paste() -> None:
    assert read(password=f" {KEY}\n").api_key == KEY


def test_an_empty_password_falls_back_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert read(password=None).api_key == KEY
    assert read(password="sk-other").api_key == "sk-other"


def test_the_default_connection_may_be_missing_if_the_environment_has_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from_environment() is None
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert TogetherHook().settings.api_key == KEY


def test_another_connection_that_is_missing_is_an_error_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match=r"'gpus' does not exist"):
        _ = TogetherHook("gpus").settings


def test_unknown_extra_fields_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    read(extra={"apii": "compute"})
    assert "apii" in caplog.text


def test_a_ca_bundle_that_is_none_is_named() -> None:
    from airflow_provider_together.api.client import Client

    with pytest.raises(ConfigurationError, match=r"verify='/nowhere/ca.pem'"):
        Client(read(extra={"verify": "/nowhere/ca.pem"}))
