"""
Everything that can go wrong with Together, as one tree.

What to do about an error is in its type, so that callers never read messages or status numbers::

    TogetherError
    ├── PermanentError              trying again does not help; something has to be changed first
    │   ├── ConfigurationError        the connection is wrong; nothing was sent
    │   │   └── LoginRefusedError       a login host knows neither key nor password of the user
    │   ├── SpecError                 a parameter is wrong; nothing was sent
    │   ├── RequestRefusedError       the server refused the request (4xx, an unfollowed redirect)
    │   │   ├── AuthenticationError     401: it does not know the key
    │   │   ├── PermissionDeniedError   403: the key may not do this
    │   │   └── NotFoundError           404: no such cluster, volume or path
    │   ├── NameTakenError            somebody else's live cluster has this name
    │   ├── SpecMismatchError         our own live cluster differs from what is asked for
    │   ├── ClusterFailedError        the cluster will never be READY
    │   └── ClusterGoneError          the cluster is being deleted, or is no more
    ├── TransientError              trying again helps; nothing was done, or doing it twice is harmless
    │   ├── NotSentError              the request never reached the server (refused, DNS, TLS)
    │   ├── AnswerLostError           a repeatable request got no complete answer
    │   ├── MalformedAnswerError      a repeatable request got an answer that cannot be read
    │   ├── ServerError               5xx, and 408; of Kubernetes also 409 and 423, while an object is in use
    │   ├── RateLimitError            429: refused before it was carried out
    │   ├── OutOfStockError           409: no capacity now; another time or region may have some
    │   └── WaitTimeoutError          the deadline passed before a verdict
    └── OutcomeUnknownError         a request that must not be repeated may have been carried out: look first

This module imports nothing of the package: everything else may import it.
"""

from __future__ import annotations


class TogetherError(Exception):
    """Base of every error that this package raises on its own account."""


class PermanentError(TogetherError):
    """Trying again does not help: a person has to change something first."""


class TransientError(TogetherError):
    """
    Trying again helps: nothing was done, or doing it twice does no harm.

    :param message: what happened, without secrets.
    :param retry_after: seconds that the server asked to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutcomeUnknownError(TogetherError):
    """
    A request that must not be repeated may or may not have been carried out.

    Look whether its effect is there before asking again. The original error is ``__cause__``.
    """


class ConfigurationError(PermanentError):
    """The connection is incomplete or contradictory. Nothing was sent."""


class LoginRefusedError(ConfigurationError):
    """The host knows neither the key nor the password of this user."""


class SpecError(PermanentError, ValueError):
    """
    Parameters are wrong. Nothing was sent, nothing costs money.

    :param problems: one sentence per problem: the field, its value, what is allowed.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class RequestRefusedError(PermanentError):
    """
    The server understood and refused: asking the same again gets the same answer.

    :param message: method, path, status, the server's words and the request id.
    :param status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class AuthenticationError(RequestRefusedError):
    """401: the server does not know the API key."""


class PermissionDeniedError(RequestRefusedError):
    """403: the key is known, but may not do this. Create, scale and delete need a project admin's key."""


def is_refusal(error: TogetherError) -> bool:
    """
    Whether only a person can change that error: a key that is refused, a setting that is wrong.

    Every other refusal of a request may pass, since Together answers 400, 409 or 423 while a cluster is in transition.
    """
    if isinstance(error, RequestRefusedError):
        return isinstance(error, (AuthenticationError, PermissionDeniedError))
    return isinstance(error, PermanentError)


class NotFoundError(RequestRefusedError):
    """404: there is no such cluster, volume or path."""


class NameTakenError(PermanentError):
    """A live cluster has the wanted name, and nothing says that it is ours."""


class SpecMismatchError(PermanentError):
    """Our own live cluster is not what this spec describes."""


class ClusterFailedError(PermanentError):
    """The cluster ended in a state from which it will not become READY."""


class ClusterGoneError(PermanentError):
    """The cluster is being deleted, or no longer exists."""


class NotSentError(TransientError):
    """The request did not reach the server: connection refused, DNS or TLS failure. It was not carried out."""


class AnswerLostError(TransientError):
    """No complete answer came: a timeout, or the connection was lost."""


class MalformedAnswerError(TransientError):
    """An answer came that is not what the API promises."""


class ServerError(TransientError):
    """
    The server failed (5xx) or gave up waiting (408); Kubernetes' has an object in use just now (409, 423).

    :param status: the HTTP status.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status


class RateLimitError(TransientError):
    """429: too many requests. The request was refused before it was carried out."""


class OutOfStockError(TransientError):
    """409 "Out of stock": no capacity now. Another time, region, GPU type or count may have some."""


class WaitTimeoutError(TransientError):
    """The deadline passed before the cluster reached the state that was waited for."""
