"""
Which proxy of the environment leads to a host, read as curl and requests read it.

Separate from the drivers since httpx makes no client at all for a ``NO_PROXY`` that other programs understand. An
entry that means nothing to anybody matches nothing. The value of a variable never enters a message: it may hold
a password.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

import httpx

from airflow_provider_together.exceptions import ConfigurationError

_SOCKS = ("socks5", "socks5h")
_PORTS = {"http": 80, "https": 443}
#: An entry with a port: ``host:port`` or ``[address]:port``, but not the colons of a bare IPv6 address.
_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):(\d{1,5})", re.ASCII)


def proxy_for(url: str, *, tls: ssl.SSLContext) -> httpx.Proxy | None:
    """
    Return the proxy through which a URL is to be asked, or None to connect directly.

    :param tls: for a proxy that is itself spoken to by https.
    :raises ConfigurationError: naming the variable that cannot be used, and what to do.
    """
    proxies = getproxies()
    kind = next((kind for kind in (urlsplit(url).scheme, "all") if proxies.get(kind, "").strip()), None)
    if kind is None or is_excepted(url, proxies.get("no", "")):
        return None
    value = proxies[kind].strip()
    return _proxy(value if "://" in value else f"http://{value}", _variable(f"{kind}_proxy"), tls)


def is_excepted(url: str, no_proxy: str) -> bool:
    """
    Whether ``NO_PROXY`` says that a URL is reached without a proxy.

    :param no_proxy: ``*``, or entries between commas or blanks: names (which mean their subdomains too, with or
        without a leading ``.`` or ``*.``), addresses, networks such as ``10.0.0.0/8`` or ``fd00::/8``; each with or
        without a port, a scheme, or brackets around IPv6.
    """
    target = urlsplit(url)
    return any(_matches(entry, target) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry)


def _matches(entry: str, target: SplitResult) -> bool:
    if entry == "*":
        return True
    scheme, has_scheme, rest = entry.rpartition("://")
    if has_scheme:
        if scheme not in {target.scheme, "all"}:
            return False
        rest = rest.partition("/")[0]
    if with_port := _WITH_PORT.fullmatch(rest):
        rest, port = with_port[1], int(with_port[2])
        if port != (target.port or _PORTS[target.scheme]):
            return False
    host = (target.hostname or "").rstrip(".")
    try:
        network = ipaddress.ip_network(re.sub(r"[\[\]]", "", rest), strict=False)
    except ValueError:
        name = rest.lstrip("*.").rstrip(".")
        return bool(name) and f".{host}".endswith(f".{name}")
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _proxy(url: str, variable: str, tls: ssl.SSLContext) -> httpx.Proxy:
    scheme = url.partition("://")[0].lower()
    if scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        message = (
            f"{variable} names a SOCKS proxy, for which the package socksio is missing: "
            f"pip install 'httpx[socks]', or name an http proxy"
        )
        raise ConfigurationError(message)
    try:
        proxy = httpx.Proxy(url, ssl_context=tls if scheme == "https" else None)
        is_usable = bool(proxy.url.host) and (proxy.url.port or 1) in range(1, 65536)
    except (ValueError, httpx.InvalidURL):
        is_usable = False
    if not is_usable:
        message = (
            f"{variable} cannot be read as the URL of a proxy: it must be http://HOST:PORT (or https, socks5), "
            "with the special characters of a user and a password percent-encoded"
        )
        raise ConfigurationError(message)
    return proxy


def _variable(name: str) -> str:
    """Return how a message names the variable: as it is spelled; macOS has settings without a variable."""
    spelled = [given for given in os.environ if given.lower() == name and os.environ[given]]
    return f"environment variable {min(spelled, key=str.swapcase)}" if spelled else "the system's proxy setting"
