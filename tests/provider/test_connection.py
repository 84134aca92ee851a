"""A connection means the same from wherever it comes, and a wrong one says which field is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_together.api.settings import Settings
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.runtime.connection import settings_from_connection, settings_from_environment

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
        ({"host": "API.Together.ai:443"}, "https://api.together.ai", "compute"),
        ({"host": "api.together.ai", "port": 443, "schema": "HTTPS"}, "https://api.together.ai", "compute"),
        ({"host": "api.together.ai", "port": "443"}, "https://api.together.ai", "compute"),
        ({"host": "https://api.together.ai/v1"}, "https://api.together.ai", "compute"),
        ({"host": "api.together.xyz", "schema": "v1"}, "https://api.together.xyz", "compute"),
        ({"schema": "https"}, "https://manager.cloud.together.ai", "tcloud"),
        ({"schema": "v1"}, "https://manager.cloud.together.ai", "tcloud"),
        ({"host": "127.0.0.1", "schema": "http://", "port": 8000}, "http://127.0.0.1:8000", "tcloud"),
        ({"extra": {"api": " Compute"}}, "https://api.together.ai", "compute"),
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
        ({"host": "cloud.together.ai"}, ["'cloud.together.ai' is a website", "https://api.together.ai"]),
        ({"host": "gpu.example.com/v1", "extra": {"api": "tcloud"}}, ["path '/v1'", "api='compute'", "api='tcloud'"]),
        ({"host": "gpu.example.com", "schema": "gateway"}, ["schema='gateway'", "https", "host field"]),
        ({"host": "gpu.example.com", "port": "https"}, ["port='https'", "1 to 65535"]),
        ({"host": "gpu.example.com", "port": 70000}, ["port=70000", "1 to 65535"]),
        ({"password": "", "login": "sk-here"}, ["password is empty", "login field", "together://:KEY@HOST"]),
        ({"password": f"Bearer {KEY}"}, ["password is wrong", "'Bearer'"]),
        ({"password": f'"{KEY}"'}, ["password is wrong", "quotes"]),
        ({"extra": ["compute"]}, ["extra is wrong", "JSON object"]),
        ({"extra": {"verify": 7}}, ["verify=7", "text"]),
        ({"extra": {"timeout": "30s"}}, ["timeout='30s'", "0.1 to 600"]),
        ({"extra": {"timeout": "nan"}}, ["timeout='nan'"]),
        ({"extra": {"retries": "many"}}, ["retries='many'", "0 to 20"]),
        ({"extra": {"retries": 10**400}}, ["retries=1000", "0 to 20"]),
        ({"extra": {"retries": [4]}}, ["retries=[4]"]),
        ({"extra": {"visibility": "-1"}}, ["visibility='-1'", "0.1 to 3600"]),
        ({"extra": {"visibility": "inf"}}, ["visibility='inf'"]),
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


def test_an_extra_that_is_not_json_is_refused_and_not_repeated() -> None:
    connection = Connection(conn_id="gpus", conn_type="together", password=KEY, extra=f"{{'api': '{KEY}'}}")
    with pytest.raises(ConfigurationError, match=r"connection 'gpus': extra is wrong: .* JSON object") as caught:
        settings_from_connection(connection)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("form", ["{}\n", "{}\r\n", " {}", "{}\t", "\ufeff{}", "{}\u200b", "\u00a0{}"])
def test_a_key_means_the_same_with_what_a_file_or_a_clipboard_adds(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(password=form.format(KEY)).api_key == KEY
    monkeypatch.setenv("TOGETHER_API_KEY", form.format(KEY))
    assert read(password="\ufeff\n").api_key == KEY
    assert TogetherHook().settings.api_key == KEY


@pytest.mark.parametrize("form", ["Bearer {}", "'{}'", "{} {}", "{}\n{}", "{}é", "x\u200b{}"])
def test_a_key_that_is_none_is_told_with_the_place_it_comes_from(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = form.format(KEY, KEY)
    with pytest.raises(ConfigurationError, match=r"^connection 'gpus': password is wrong: the API key") as caught:
        read(password=wrong)
    assert KEY not in str(caught.value)
    monkeypatch.setenv("TOGETHER_API_KEY", wrong)
    place = "environment variable TOGETHER_API_KEY is wrong: the API key"
    with pytest.raises(ConfigurationError, match=f"^connection 'gpus': {place}") as caught:
        read(password="")
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigurationError, match=f"^{place}") as caught:
        _ = TogetherHook().settings
    assert KEY not in str(caught.value)


def test_the_place_of_the_key_is_known_to_who_asks_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read().key_place == "its password field"
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert read(password="").key_place == "the environment variable TOGETHER_API_KEY"
    assert TogetherHook().settings.key_place == "the environment variable TOGETHER_API_KEY"


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


def test_unknown_extra_fields_are_reported_with_what_is_probably_meant(caplog: pytest.LogCaptureFixture) -> None:
    settings = read(extra={"apii": "compute", "Project-ID": "p", "xyz": KEY})
    assert "'Project-ID' (did you mean 'project_id'?), 'apii' (did you mean 'api'?), 'xyz'. Known ones: api," in (
        settings.ignored
    )
    assert settings.ignored in caplog.text
    assert KEY not in caplog.text
    assert read(extra={"api": "tcloud"}).ignored == ""


def test_the_button_names_unknown_extra_fields_as_well(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = json.loads(emulator.connection(api="compute"))
    extra = fields["extra"] if isinstance(fields["extra"], dict) else json.loads(fields["extra"])
    monkeypatch.setenv("AIRFLOW_CONN_GPUS", json.dumps({**fields, "extra": {**extra, "verfy": "x"}}))
    is_good, message = TogetherHook("gpus").test_connection()
    assert is_good
    assert "'verfy' (did you mean 'verify'?)" in message


@pytest.mark.parametrize("value", [True, "true", "True", " yes ", "1", "", None])
def test_to_verify_is_to_trust_the_system(value: Any) -> None:
    assert read(extra={"verify": value}).verify == ""


@pytest.mark.parametrize("value", [False, "false", "False", "no", "0"])
def test_not_to_verify_is_refused_but_on_this_machine(value: Any) -> None:
    from airflow_provider_together.api.client import Client

    with pytest.raises(ConfigurationError, match="connection 'gpus': verify=false is refused"):
        Client(read(extra={"verify": value}))
    Client(read(host="https://127.0.0.1:8443", extra={"verify": value})).close()


def test_the_path_of_certificates_is_absolute_or_begins_with_the_home() -> None:
    assert read(extra={"verify": "ca.pem"}).verify == str(Path("ca.pem").absolute())
    assert read(extra={"verify": "~/ca.pem"}).verify == "~/ca.pem"


def test_certificates_that_cannot_be_read_are_named_with_the_connection() -> None:
    from airflow_provider_together.api.client import Client

    with pytest.raises(ConfigurationError, match=r"connection 'gpus': verify='/nowhere/ca.pem' is wrong"):
        Client(read(extra={"verify": "/nowhere/ca.pem"}))


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        (f"together://:{KEY}@api.together.ai/v1?api=compute", "https://api.together.ai"),
        (f"together://:{KEY}@API.Together.ai:443/https?api=compute", "https://api.together.ai"),
        (f"together://:{KEY}@https%3A%2F%2Fapi.together.ai%2Fv1/?api=compute", "https://api.together.ai"),
        (f"together://https://:{KEY}@api.together.ai?api=compute", "https://api.together.ai"),
        (f"together://:{KEY}@/?__extra__=%7B%22api%22%3A%22compute%22%7D", "https://api.together.ai"),
    ],
)
def test_a_uri_may_be_written_in_all_its_ways(uri: str, base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GPUS", uri)
    settings = TogetherHook("gpus").settings
    assert (settings.base_url, settings.dialect, settings.api_key) == (base_url, "compute", KEY)
