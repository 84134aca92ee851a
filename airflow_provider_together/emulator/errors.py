"""
What the emulated API refuses, and how a refusal reads on the wire.

One class per kind of refusal; the two body shapes are chosen here, so that no other module knows that there
are two. It imports nothing of ours. Nothing here is about HTTP beyond the number of a status.

    RefusedError
    ├── InvalidRequestError   400  a field is missing, unknown, of the wrong kind or of a wrong value
    ├── UnauthenticatedError  401  no key, or not one of ours
    ├── ForbiddenError        403  a key that may read only
    ├── UnknownResourceError  404  no such path, cluster or volume
    ├── MethodError           405  the path exists, not with this method
    ├── ConflictError         409  not now: attached, being deleted
    └── OutOfStockError       409  not enough GPUs of this type in this region
"""

from __future__ import annotations

from typing import Any, ClassVar

ERROR_FORMATS = ("openai", "rpc")

# Numbers of google.rpc.Code, which the RPC form carries.
_RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 409: 9, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
_RPC_UNKNOWN = 2
_SERVER_ERROR = 500


class RefusedError(Exception):
    """
    A request that is not carried out.

    :param message: what is wrong, naming the field and the value.
    :param param: the field of the request that is to blame, if it is one.
    """

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequestError(RefusedError):
    """The request is wrong, and will be wrong again."""

    code = "invalid_request"


class UnauthenticatedError(RefusedError):
    """No key, or not one of ours."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class ForbiddenError(RefusedError):
    """The key may read only."""

    status = 403
    type = "permission_error"
    code = "insufficient_permissions"


class UnknownResourceError(RefusedError):
    """No such path, cluster or volume."""

    status = 404
    code = "not_found"


class MethodError(RefusedError):
    """The path exists, but not with this method."""

    status = 405
    code = "method_not_allowed"


class ConflictError(RefusedError):
    """The request is right, but not in the present state."""

    status = 409
    code = "conflict"


class OutOfStockError(ConflictError):
    """Not enough GPUs of this type in this region."""

    code = "out_of_stock"


def error_body(error: RefusedError, *, error_format: str) -> dict[str, Any]:
    """
    Spell a refusal.

    :param error_format: ``openai`` or ``rpc``: both are known from Together, and nobody documents which of its
        services sends which.
    """
    if error_format == "rpc":
        return _rpc(error.status, error.message)
    detail = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return {"error": detail}


def injected_body(status: int, message: str, *, error_format: str) -> dict[str, Any]:
    """Spell an error that a fault asks for, whatever its status."""
    if error_format == "rpc":
        return _rpc(status, message)
    kind = "server_error" if status >= _SERVER_ERROR else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _rpc(status: int, message: str) -> dict[str, Any]:
    return {"code": _RPC_CODES.get(status, _RPC_UNKNOWN), "message": message, "details": []}
