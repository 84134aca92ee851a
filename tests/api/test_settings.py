"""What a client must know, and hosts as people type them."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_together.api.client import Client
from airflow_provider_together.api.settings import Settings, is_loopback, normal_api_key, normal_base_url
from airflow_provider_together.exceptions import ConfigurationError
from tests.support.engine import CANARY_KEY, FIXED, settings_with

DEFAULT = "https://default.invalid"


def test_the_key_is_not_shown() -> None:
    settings = settings_with()
    assert CANARY_KEY not in f"{settings!r} {settings} {[settings]}"


def test_equal_settings_are_one_key_of_a_dictionary() -> None:
    assert {settings_with(): 1}[settings_with()] == 1
    assert settings_with(api_key="other") != settings_with()


@pytest.mark.parametrize(
    ("typed", "port", "url"),
    [
        ("", None, DEFAULT),
        ("  ", 443, DEFAULT),
        ("api.together.ai", None, "https://api.together.ai"),
        (" api.together.ai ", 8443, "https://api.together.ai:8443"),
        ("api.together.ai:8443", None, "https://api.together.ai:8443"),
        ("https://api.together.ai:1", 2, "https://api.together.ai:1"),
        ("https://api.together.ai/", None, "https://api.together.ai"),
        ("https://gateway.example/together/", None, "https://gateway.example/together"),
        ("HTTPS://API.Together.AI", None, "https://api.together.ai"),
        ("http://localhost:8000", None, "http://localhost:8000"),
        ("http://127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("http://127.1.2.3:80", None, "http://127.1.2.3"),
        ("http://[::1]:8000", None, "http://[::1]:8000"),
        ("https://[2001:db8::1]", 443, "https://[2001:db8::1]"),
        ("https://[2001:db8::1]", 8443, "https://[2001:db8::1]:8443"),
        ("api.together.ai:443", None, "https://api.together.ai"),
        ("api.together.ai", 443, "https://api.together.ai"),
        ("http://127.0.0.1:443", None, "http://127.0.0.1:443"),
        ("api.together.ai.", None, "https://api.together.ai"),
        ("API.together.ai.:443/", None, "https://api.together.ai"),
        ("api.together.ai:0", None, "https://api.together.ai"),
    ],
)
def test_a_host_as_people_type_it_becomes_a_url(typed: str, port: int | None, url: str) -> None:
    assert normal_base_url(typed, port=port, default=DEFAULT) == url


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("ftp://api.together.ai", "https://"),
        ("https://", "https://"),
        ("://x", "https://"),
        ("https://[::1", "https://"),
        ("https://a..b", "https://"),
        ("https://" + "a" * 64 + ".example", "https://"),
        ("exa mple.com", "https://"),
        ("https://api.together.ai:99999", "1 to 65535"),
        ("https://api.together.ai:http", "1 to 65535"),
        ("https://api.together.ai?key=1", "password field"),
        ("https://api.together.ai#x", "password field"),
        ("http://api.together.ai", "use https"),
        ("http://10.0.0.1", "use https"),
        ("http://localhost.evil.example", "use https"),
        ("http://127.0.0.1.evil.example", "use https"),
    ],
)
def test_a_wrong_host_is_refused_with_the_remedy(typed: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match="host.*" + remedy):
        normal_base_url(typed, default=DEFAULT)


@pytest.mark.parametrize(
    "typed",
    [
        f"https://user:{CANARY_KEY}@api.together.ai",
        f"https://{CANARY_KEY}@api.together.ai",
        f"http://:{CANARY_KEY}@api.together.ai",
        f"ftp://:{CANARY_KEY}@api.together.ai",
        f"https://:{CANARY_KEY}@api.together.ai:99999",
        f"https://api.together.ai?key={CANARY_KEY}",
        f"https://x:{CANARY_KEY}@[::1",
    ],
)
def test_a_key_in_the_host_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        normal_base_url(typed, default=DEFAULT)
    assert CANARY_KEY not in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_beside_the_host_that_cannot_be_is_named(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"port={port} is wrong: .* 1 to 65535"):
        normal_base_url("api.together.ai", port=port, default=DEFAULT)


@pytest.mark.parametrize(
    "form",
    ["{}\n", "{}\r\n", " {}", "{}\t", "\ufeff{}", "{}\u200b", "\u00a0{}", "{}\u2060\n", "\n\u200e{}\u3000", "{}"],
)
def test_what_surrounds_a_key_and_leaves_no_mark_is_taken_off(form: str) -> None:
    assert normal_api_key(form.format(CANARY_KEY), "password") == CANARY_KEY


@pytest.mark.parametrize("nothing", ["", " \n", "\ufeff", "\u200b \u200b"])
def test_a_key_of_marks_that_nobody_sees_is_no_key(nothing: str) -> None:
    assert normal_api_key(nothing, "password") == ""


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("Bearer {}", "begins with 'Bearer': give the key alone"),
        ("bearer {}\n", "begins with 'Bearer'"),
        ('"{}"', "is in quotes: leave them out"),
        ("'{}'\n", "is in quotes"),
        ("{}'", "is in quotes"),
        ("{}\n{}", "has more than one line"),
        ("{}\u2028{}", "has more than one line"),
        ("{} x", f"at position {len(CANARY_KEY) + 1} of {len(CANARY_KEY) + 2}"),
        ("{}é", f"at position {len(CANARY_KEY) + 1} of {len(CANARY_KEY) + 1}"),
        ("x\u200b{}", "at position 2"),
        ("x\x00{}", "at position 2"),
    ],
)
def test_what_cannot_be_a_key_is_told_with_its_place_and_never_shown(form: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        normal_api_key(form.format(CANARY_KEY, CANARY_KEY), "password")
    assert str(caught.value).startswith("password is wrong: the API key ")
    assert problem in str(caught.value)
    assert CANARY_KEY not in str(caught.value)


@FIXED
@given(st.text(st.characters(codec=None)))
@example("\ud800")
def test_any_text_becomes_a_key_that_a_client_takes_or_is_refused(text: str) -> None:
    try:
        key = normal_api_key(text, "password")
    except ConfigurationError:
        return
    Client(settings_with(api_key=key)).close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_a_loopback_host_is_told(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "10.0.0.1", "0.0.0.0", "localhost.evil.example", "::2", "127.0.0.1.x"])  # noqa: S104
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:1", True), ("http://[::1]:1", True), ("https://together.invalid", False), ("", False)],
)
def test_settings_tell_whether_they_stay_on_this_machine(url: str, expected: bool) -> None:
    assert Settings(base_url=url, api_key="k").is_loopback is expected


@FIXED
@given(st.text() | st.text(st.characters(codec=None)).map("https://".__add__), st.none() | st.integers(1, 65535))
@example("http://①", None)
@example("https://[v1.x]", None)
def test_any_text_becomes_a_url_that_a_client_takes_or_is_refused(typed: str, port: int | None) -> None:
    try:
        url = normal_base_url(typed, port=port, default=DEFAULT)
        Client(settings_with(base_url=url)).close()
    except ConfigurationError:
        return
    parsed = httpx.URL(url)
    assert parsed.host
    assert parsed.scheme == "https" or is_loopback(parsed.host)
    assert not parsed.userinfo
