"""Holds a request or an answer against the contract of a dialect.

Owns the reading of ``tcloud.yaml`` and ``compute.yaml`` and the rules of what fits them. It is separate from
``server.py`` because the emulator's and the client's tests judge traffic that no server of ours has made.
It must not import ``airflow_provider_together``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import unquote

import httpx
import yaml
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

Schema = Mapping[str, Any]
DialectName = Literal["tcloud", "compute"]

_METHODS = ("get", "post", "put", "delete")
_JSON = "application/json"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_FORMATS = FormatChecker(formats=())


class ContractViolation(AssertionError):  # noqa: N818 (what it is, in the words of the subject)
    """A request or an answer does not fit the contract; the text says where and why."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one path.

    :param name: the ``operationId``; equal in both dialects for the same deed.
    :param path: the template, such as ``/v1/compute/clusters/{cluster_id}``.
    :param parameters: parameters of path and query, references resolved.
    :param body: schema of the request body, or None where a body has no business.
    :param answers: status (``"200"``, ``"default"``) to the schema of the body.
    """

    name: str
    method: str
    path: str
    parameters: tuple[Schema, ...]
    body: Schema | None
    answers: Mapping[str, Schema]

    def match(self, path: str) -> dict[str, str] | None:
        """Give the path's parameters, decoded, or None if the path is another one.

        :param path: the path as it was sent, still percent-encoded, without the query.
        """
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        found = re.fullmatch(pattern, path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


class Contract:
    """One dialect's contract.

    :param dialect: names the contract in messages.
    :param document: the OpenAPI 3.1 document.
    """

    def __init__(self, dialect: str, document: Mapping[str, Any]) -> None:
        self.dialect = dialect
        self.document = document
        self.operations = tuple(self._read_operations())
        # Later validators are evolved from this one: "#/components/…" is looked up in the whole document.
        self._validator = Draft202012Validator(document, format_checker=_FORMATS)

    @staticmethod
    @cache
    def load(dialect: DialectName) -> Contract:
        """Read the contract that lies beside this module."""
        text = Path(__file__).with_name(f"{dialect}.yaml").read_text(encoding="utf-8")
        return Contract(dialect, yaml.safe_load(text))

    def resolve(self, node: Schema) -> Schema:
        """Follow ``$ref`` until something else stands there."""
        while "$ref" in node:
            target: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node

    def find_operation(self, method: str, path: str) -> Operation:
        """Find what a method and a path mean.

        :param path: percent-encoded, without the query.
        :raises ContractViolation: if the contract has no such path, or not with that method.
        """
        there = {each.method: each for each in self.operations if each.match(path) is not None}
        if method not in there:
            self._refuse(f"{method} {path}", f"it takes {', '.join(there)}" if there else "no such path")
        return there[method]

    def check_request(self, request: httpx.Request) -> Operation:
        """Hold a request against the contract: key, path, query and JSON body.

        :param request: its body must have been read. Scheme, host and port are not looked at.
        :return: the operation that is asked for.
        :raises ContractViolation: if anything is missing, unknown or of the wrong kind.
        """
        operation = self.find_operation(request.method, _path_of(request))
        place = f"{request.method} {_path_of(request)}"
        # Without the value: the text of a failed test must not show a key.
        if not re.fullmatch(r"Bearer \S+", request.headers.get("Authorization", "")):
            self._refuse(f"{place}, header Authorization", "is not 'Bearer' and a key")
        self._check_parameters(place, operation, request)
        if operation.body is not None:
            self._check_json(f"{place}, request body", operation.body, request)
        elif request.content:
            self._refuse(f"{place}, request body", "this operation takes none")
        return operation

    def check_response(self, request: httpx.Request, response: httpx.Response) -> None:
        """Hold an answer against what the contract promises for its request and status.

        :param response: its body must have been read.
        :raises ContractViolation: if the body is not JSON or does not fit.
        """
        operation = self.find_operation(request.method, _path_of(request))
        schema = operation.answers.get(str(response.status_code), operation.answers["default"])
        place = f"{request.method} {_path_of(request)}, answer {response.status_code}"
        self._check_json(place, schema, response)

    def _check_parameters(self, place: str, operation: Operation, request: httpx.Request) -> None:
        """Check path and query; all parameters of both dialects are single strings."""
        for kind, items in (
            ("path", list((operation.match(_path_of(request)) or {}).items())),
            ("query", request.url.params.multi_items()),
        ):
            declared = {each["name"]: each for each in operation.parameters if each["in"] == kind}
            names = [name for name, _ in items]
            for name, value in items:
                if name not in declared:
                    self._refuse(f"{place}, {kind}", f"unknown parameter {name!r}")
                self._check_value(f"{place}, {kind} parameter {name!r}", declared[name]["schema"], value)
            for name, parameter in declared.items():
                if names.count(name) > 1 or (parameter.get("required") and name not in names):
                    self._refuse(f"{place}, {kind} parameter {name!r}", f"is given {names.count(name)} times")

    def _check_json(self, place: str, schema: Schema, message: httpx.Request | httpx.Response) -> None:
        media_type = message.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != _JSON:
            self._refuse(f"{place}, header Content-Type", f"{media_type!r} is not {_JSON!r}")
        try:
            value = json.loads(message.content, parse_constant=_refuse_constant)
        except ValueError as error:
            self._refuse(place, f"is not JSON: {error}")
        self._check_value(place, schema, value)

    def _check_value(self, place: str, schema: Schema, value: object) -> None:
        validator = self._validator.evolve(schema=schema)
        faults = [_describe(error) for error in validator.iter_errors(value)]
        if faults:
            self._refuse(place, "; ".join(sorted(faults)))

    def _refuse(self, place: str, reason: str) -> NoReturn:
        message = f"{self.dialect}: {place}: {reason}"
        raise ContractViolation(message)

    def _read_operations(self) -> Iterable[Operation]:
        for path, item in self.document["paths"].items():
            for method in _METHODS:
                if method in item:
                    yield self._read_operation(path, method, item)

    def _read_operation(self, path: str, method: str, item: Mapping[str, Any]) -> Operation:
        source = item[method]
        parameters = [*item.get("parameters", ()), *source.get("parameters", ())]
        body = source.get("requestBody")
        return Operation(
            name=source["operationId"],
            method=method.upper(),
            path=path,
            parameters=tuple(self.resolve(parameter) for parameter in parameters),
            body=body["content"][_JSON]["schema"] if body else None,
            answers={
                status: self.resolve(answer)["content"][_JSON]["schema"]
                for status, answer in source["responses"].items()
            },
        )


def _path_of(request: httpx.Request) -> str:
    return request.url.raw_path.decode("ascii").partition("?")[0]


def _describe(error: ValidationError) -> str:
    """Put one finding in words; of alternatives that all fail, say why each of them does."""
    if error.context:
        return f"{error.json_path}: no alternative fits: " + " | ".join(map(_describe, error.context))
    return f"{error.json_path}: {error.message}"


def _refuse_constant(word: str) -> NoReturn:
    message = f"{word} is a word of Python's, not of JSON"
    raise ValueError(message)


@_FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return _RFC3339.fullmatch(value) is not None and datetime.fromisoformat(value).tzinfo is not None
