"""
What a client must know: where, in which dialect, with which key, how patiently.

It is a value that can be compared and hashed, so that one client can be kept per connection, and that
never shows the key. It imports nothing of the package but its exceptions and names.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_together.exceptions import ConfigurationError

DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRIES = 4
DEFAULT_VISIBILITY = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Everything about one connection to Together.

    :param base_url: scheme and host, without a path.
    :param api_key: never shown.
    :param dialect: ``tcloud`` or ``compute``.
    :param label: how messages name the connection.
    :param project_id: Together project, for the *compute* dialect.
    :param timeout: seconds for each of: connecting, sending, waiting for the next bytes.
    :param retries: how often a request that may be repeated is repeated.
    :param verify: path of a CA bundle; empty for the system's.
    :param deployment: which Airflow this is, in the names of its clusters; empty leaves it to that Airflow.
    :param visibility: seconds that a new cluster may take to show in the list.
    """

    base_url: str
    api_key: str = field(repr=False)
    dialect: str = "tcloud"
    label: str = "the connection"
    project_id: str = ""
    timeout: float = DEFAULT_TIMEOUT
    retries: int = DEFAULT_RETRIES
    verify: str = ""
    deployment: str = ""
    visibility: float = DEFAULT_VISIBILITY

    @property
    def is_loopback(self) -> bool:
        """Whether the base URL leads to this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


def normal_base_url(text: str, *, port: int | None = None, default: str) -> str:
    """
    Return scheme, host and port of whatever a person may have typed as a host.

    :param text: empty, a bare host, ``host:port`` or a URL.
    :param port: a port given beside it.
    :param default: the URL for an empty text.
    :raises ConfigurationError: for another scheme, a user or a query in the URL, or plain http off this machine.
    """
    text = text.strip()
    if not text:
        return default
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        (parts.hostname or "").encode("idna")  # as the resolver does, and raises for labels that are no labels
    except ValueError:
        # The text is not repeated: what cannot be taken apart cannot be searched for a password either.
        message = "host is wrong: it cannot be read; give a host name or a URL that begins with https://"
        raise ConfigurationError(message) from None
    if parts.username or parts.password or parts.query or parts.fragment:
        message = "host is wrong: it holds a user, a query or a fragment; the API key belongs into the password field"
        raise ConfigurationError(message)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable() or " " in text:
        message = f"host={text!r} is wrong: give a host name or a URL that begins with https://"
        raise ConfigurationError(message)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        message = f"host={text!r} is refused: plain http would show the API key to the network; use https"
        raise ConfigurationError(message)
    try:
        chosen_port = parts.port or port
    except ValueError:
        message = f"host={text!r} is wrong: its port is not a number from 1 to 65535"
        raise ConfigurationError(message) from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{chosen_port}' if chosen_port else ''}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address certainly means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
