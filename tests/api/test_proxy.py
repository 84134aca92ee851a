"""Which proxy the environment means, and which hosts it excepts, as curl and requests read it."""

from __future__ import annotations

import importlib.util
import ssl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_together.api import proxy as proxy_module
from airflow_provider_together.api.client import Client
from airflow_provider_together.api.proxy import is_excepted, proxy_for
from airflow_provider_together.exceptions import ConfigurationError
from tests.support.engine import FIXED, settings_with

TLS = ssl.create_default_context()
SECRET = "pa55-canary"


def address(url: str = "https://api.together.ai") -> str | None:
    proxy = proxy_for(url, tls=TLS)
    return None if proxy is None else str(proxy.url)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        ({"https_proxy": "http://a:1"}, "http://a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "http://a:1"),
        ({"HTTPS_PROXY": "a:1"}, "http://a:1"),
        ({"HTTPS_PROXY": " http://a:1\n"}, "http://a:1"),
        ({"HTTPS_PROXY": "https://a:1"}, "https://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "http://b:1"),
        ({"HTTP_PROXY": "http://a:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": " "}, None),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "http://[2001:db8::1]:3128"),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "together.ai"}, None),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "together.ai"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "localhost"}, "http://a:1"),
        ({"HTTPS_PROXY": "gopher://never-read", "NO_PROXY": "*"}, None),
    ],
)
def test_the_variables_lead_to_a_proxy(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert address() == expected


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        ("https://api.together.ai", "*"),
        ("https://api.together.ai", "localhost, *"),
        ("https://api.together.ai", "api.together.ai"),
        ("https://api.together.ai", "API.Together.AI."),
        ("https://api.together.ai", "together.ai"),
        ("https://api.together.ai", ".together.ai"),
        ("https://together.ai", ".together.ai"),
        ("https://api.together.ai", "*.together.ai"),
        ("https://api.together.ai", "*together.ai"),
        ("https://api.together.ai", "localhost,\t[::1] together.ai"),
        ("https://api.together.ai", "together.ai:443"),
        ("https://gw.example:8443", "gw.example:8443"),
        ("https://gw.example:8443", "gw.example"),
        ("https://gw.example", "https://gw.example"),
        ("https://gw.example:8443", "https://gw.example:8443/path"),
        ("https://gw.example", "all://gw.example"),
        ("https://10.1.2.3", "10.1.2.3"),
        ("https://10.1.2.3", "10.0.0.0/8"),
        ("https://10.1.2.3", "10.1.2.99/24"),
        ("https://10.1.2.3:8443", "10.1.2.3:8443"),
        ("https://[2001:db8::1]", "2001:db8::1"),
        ("https://[2001:db8::1]", "[2001:DB8:0:0::1]"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
        ("https://[fd12::1]", "10.0.0.0/8,fd00::/8"),
        ("https://[fd12::1]", "[fd00::]/8"),
    ],
)
def test_a_host_is_excepted(url: str, no_proxy: str) -> None:
    assert is_excepted(url, no_proxy)


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        ("https://api.together.ai", ""),
        ("https://api.together.ai", " , ,"),
        ("https://api.together.ai", "localhost,127.0.0.1,::1,[::1]"),
        ("https://api.together.ai", "10.0.0.0/8,fd00::/8,fe80::/10"),
        ("https://api.together.ai", "gether.ai"),
        ("https://api.together.ai", "x.api.together.ai"),
        ("https://api.together.ai", "together.ai:8443"),
        ("https://api.together.ai", "http://api.together.ai"),
        ("https://api.together.ai", ".,*.,**"),
        ("https://api.together.ai", "[,],[:]:,://,https://,:443,/8,::g"),
        ("https://10.1.2.3", "10.1.2.4"),
        ("https://10.1.2.3", "10.1.2.3:8443"),
        ("https://10.1.2.3", "fd00::/8"),
        ("https://10.1.2.3", "10.0.0.0/99"),
        ("https://10.1.2.3", "1.2.3.4/8/8"),
        ("https://[2001:db8::1]", "[2001:db8::1]:8443"),
        ("https://[2001:db8::1]", "10.0.0.0/8"),
    ],
)
def test_a_host_is_not_excepted(url: str, no_proxy: str) -> None:
    assert not is_excepted(url, no_proxy)


@FIXED
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])) | st.text("[]:.,*/ 0123456789abcdef"))
@example("[::1]")
@example("10.0.0.0/8,fd00::/8")
def test_no_text_in_no_proxy_keeps_a_client_from_being_made(no_proxy: str) -> None:
    for url in ("https://api.together.ai", "https://10.1.2.3:8443", "https://[fd00::1]"):
        assert is_excepted(url, no_proxy) in {True, False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        patch.setenv("NO_PROXY", no_proxy.replace("\x00", ""))
        Client(settings_with()).close()


@pytest.mark.parametrize(
    "value",
    [
        f"gopher://user:{SECRET}@127.0.0.1:1",
        f"http://user:{SECRET}/x@127.0.0.1:1",
        f"http://user:{SECRET}#@127.0.0.1:1",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@a:99999",
        f"user:{SECRET}@a:b:1",
        f"http://user:{SECRET}\x7f@a:1",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_read_is_told_by_its_variable_and_never_shown(
    value: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Client(settings_with(label="connection 'gpu'"))
    assert str(caught.value).startswith(f"connection 'gpu': environment variable {name} cannot be read")
    assert "http://HOST:PORT" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_socks_proxy_without_its_package_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("ALL_PROXY", f"socks5h://user:{SECRET}@127.0.0.1:1")
    with pytest.raises(ConfigurationError) as caught:
        Client(settings_with())
    assert "environment variable ALL_PROXY names a SOCKS proxy" in str(caught.value)
    assert "pip install 'httpx[socks]'" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_socks_proxy_with_its_package_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.util.spec_from_loader(name, None))
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:1080")
    assert address() == "socks5h://127.0.0.1:1080"


def test_a_setting_of_the_system_has_no_variable_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "getproxies", lambda: {"https": "gopher://x"})
    with pytest.raises(ConfigurationError, match="the system's proxy setting cannot be read"):
        address()


def test_credentials_of_a_proxy_are_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@a:1")
    assert SECRET not in repr(proxy_for("https://api.together.ai", tls=TLS))
