"""
What a Kubernetes API server answers instead of a result: ``Status`` objects, as exceptions. It imports nothing of ours.

Source of the wording: k8s.io/apimachinery/pkg/api/errors.
"""

from __future__ import annotations

from typing import Any

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """
    A request that is not fulfilled.

    :param code: status code of HTTP.
    :param reason: Kubernetes' word; by default the one that goes with the code.
    :param details: more, for programs.
    """

    def __init__(
        self, code: int, message: str, *, reason: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = _REASONS.get(code, "") if reason is None else reason
        self.details = details

    def to_status(self) -> dict[str, Any]:
        """Return the ``Status`` object."""
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        return status | {"reason": self.reason, "code": self.code} | ({"details": self.details} if self.details else {})


def invalid_options(kind: str, cause: tuple[str, str]) -> ApiError:
    """Return the error for parameters of a request that break a rule."""
    return invalid(kind, "", [cause], group="meta.k8s.io")


def not_allowed() -> ApiError:
    """Return the error for a method that a path does not have."""
    return ApiError(405, "the server does not allow this method on the requested resource")


def not_found(plural: str, name: str, *, group: str = "") -> ApiError:
    """Return the error for an object that is not there."""
    details = {"name": name, "kind": plural} | ({"group": group} if group else {})
    return ApiError(404, f'{_qualified(plural, group)} "{name}" not found', details=details)


def already_exists(plural: str, name: str, *, group: str = "") -> ApiError:
    """Return the error for a name that is taken."""
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return ApiError(409, message, reason="AlreadyExists", details={"name": name, "kind": plural})


def conflict(plural: str, name: str, cause: str, *, group: str = "") -> ApiError:
    """Return the error for a change of what has changed meanwhile."""
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {cause}'
    return ApiError(409, message, details={"name": name, "kind": plural})


def invalid(kind: str, name: str, causes: list[tuple[str, str]], *, group: str = "") -> ApiError:
    """
    Return the error for an object that breaks rules.

    :param causes: field and what is wrong with it.
    """
    texts = [f"{field}: {text}" for field, text in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    listed_causes = [{"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in causes]
    details = ({"name": name} if name else {}) | {"kind": kind, "causes": listed_causes}
    details |= {"group": group} if group else {}
    return ApiError(422, f'{qualified} "{name}" is invalid: {listed}', details=details)


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural
