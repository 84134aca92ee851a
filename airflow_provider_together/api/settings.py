"""
What a client must know: where, in which dialect, with which key, how patiently.

It is a value that can be compared and hashed, so that one client can be kept per connection, and that
never shows the key. It imports nothing of the package but its exceptions and names.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_together.api.known_dialects import DEFAULT_DIALECT
from airflow_provider_together.exceptions import ConfigurationError

DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRIES = 4
#: How long a new cluster may take to show in the list, in seconds: Together promises nothing.
DEFAULT_VISIBILITY = 60.0
#: Value of :attr:`Settings.verify` for a certificate that nobody checks; for this machine only.
UNVERIFIED = "false"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Everything about one connection to Together.

    :param base_url: scheme and host, and the path of a reverse proxy if there is one, without a slash at its end.
    :param api_key: never shown.
    :param dialect: ``tcloud`` or ``compute``.
    :param label: how messages name the connection.
    :param project_id: Together project, for the *compute* dialect.
    :param timeout: seconds for each of: connecting, sending, waiting for the next bytes.
    :param retries: how often a request that may be repeated is repeated.
    :param verify: path of a file or folder of CA certificates; empty for the system's; or :data:`UNVERIFIED`.
    :param deployment: which Airflow this is, in the names of its clusters; empty leaves it to that Airflow.
    :param visibility: seconds that a new cluster may take to show in the list.
    :param key_place: where the API key comes from, as a message names it.
    :param ignored: what of the connection is not used, as a sentence; empty if all is.
    """

    base_url: str
    api_key: str = field(repr=False)
    dialect: str = DEFAULT_DIALECT
    label: str = "the connection"
    project_id: str = ""
    timeout: float = DEFAULT_TIMEOUT
    retries: int = DEFAULT_RETRIES
    verify: str = ""
    deployment: str = ""
    visibility: float = DEFAULT_VISIBILITY
    key_place: str = "its password field"
    ignored: str = field(default="", compare=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the base URL leads to this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


def normal_base_url(text: str, *, port: int | None = None, default: str) -> str:
    """
    Return scheme, host, port and path of whatever a person may have typed as a host, in one spelling.

    Capitals, a dot at the end of the name, the scheme's own port and slashes at the end make no difference.

    :param text: empty, a bare host, ``host:port`` or a URL.
    :param port: a port given beside it; one in the text comes first.
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
        message = "host is wrong: it holds a user, a query or a fragment; the API key belongs in the password field"
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
    if chosen_port is not None and chosen_port not in range(1, 65536):
        message = f"port={chosen_port!r} is wrong: it must be a number from 1 to 65535"
        raise ConfigurationError(message)
    name = parts.hostname.removesuffix(".")
    host = f"[{name}]" if ":" in name else name
    written_port = f":{chosen_port}" if chosen_port not in {None, _PORTS[parts.scheme]} else ""
    return f"{parts.scheme}://{host}{written_port}{parts.path.rstrip('/')}"


def normal_api_key(text: str, place: str) -> str:
    """
    Return an API key without what surrounds it in files and clipboards: blanks, line ends, invisible characters.

    :param place: where it comes from, as messages name it. They never show the key.
    :raises ConfigurationError: if the rest cannot be a key.
    """
    key = text
    while key and _is_blank(key[0]):
        key = key[1:]
    while key and _is_blank(key[-1]):
        key = key[:-1]
    if problem := _problem_of_key(key):
        message = f"{place} is wrong: the API key {problem}"
        raise ConfigurationError(message)
    return key


def _is_blank(character: str) -> bool:
    """Whether a character leaves no mark: blanks and line ends, byte order marks, zero-width characters."""
    return character.isspace() or unicodedata.category(character) == "Cf"


def _problem_of_key(key: str) -> str:
    if key.lower().startswith("bearer "):
        return "begins with 'Bearer': give the key alone"
    if len(key.splitlines()) > 1:
        return "has more than one line: give the key alone"
    if key[:1] in {"'", '"'} or key[-1:] in {"'", '"'}:
        return "is in quotes: leave them out"
    for position, character in enumerate(key, start=1):
        if character == " " or not character.isascii() or not character.isprintable():
            return f"has a blank or another character that no key has, at position {position} of {len(key)}"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address certainly means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
