"""
What both dialects need to write requests and to read answers.

It imports the models and specs, never a dialect.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Required, TypeVar

from pydantic import ConfigDict, Field, StrictInt, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic does not take that of Python 3.11

from airflow_provider_together.api.call import Call
from airflow_provider_together.api.models import Answer, Cluster, Listing, Sight
from airflow_provider_together.api.specs import Spec
from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import MalformedAnswerError, SpecError

M = TypeVar("M", bound=Answer)

#: How APIs say that a list goes on, in lower case and without underscores.
_NEXT_PAGE_FIELDS = frozenset(
    {"continuationtoken", "hasmore", "hasnext", "hasnextpage", "next", "nextcursor", "nextpage", "nextpagetoken"}
    | {"nexttoken", "nexturl"}
)
#: Objects in which they say it.
_PAGE_OBJECTS = frozenset({"links", "meta", "metadata", "page", "pageinfo", "pagination", "paging"})
_DRIVER_VERSION = re.compile(r"CUDA_(\d+)_(\d+)_(\d+)", re.ASCII)


def read_object(body: Any) -> dict[str, Any]:
    """
    Return the body of an answer that must be an object.

    :raises MalformedAnswerError: if it is anything else.
    """
    if not isinstance(body, dict):
        message = f"the answer is {type(body).__name__}, not an object"
        raise MalformedAnswerError(message)
    return body


def read_model(model: type[M], body: Any, **known: Any) -> M:
    """
    Read an object of the wire as a model.

    :param known: fields that we know and that the answer may leave out.
    :raises MalformedAnswerError: naming the fields that are wrong, never their values.
    """
    answered = {key: value for key, value in read_object(body).items() if value is not None}
    try:
        return model.model_validate({**known, **answered})
    except ValidationError as error:
        places = sorted({".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False)})
        message = f"the answer is no {model.__name__}: {', '.join(places)} missing or unreadable"
        raise MalformedAnswerError(message) from None


def read_list(key: str, read: Callable[[Any], M], *, name: str) -> Callable[[Any], Listing[M]]:
    """
    Return a reader for ``{key: [...]}``.

    ``{}`` is an empty list, as protobuf's JSON writes one, and so is a page without entries after which none follows.
    Any other object without the list says nothing, and neither does one page of several: whoever concludes from a list
    that something is absent must not do so because of that.

    :param name: the field of an entry that holds its name.
    """

    def read_body(body: Any) -> Listing[M]:
        fields = read_object(body)
        if token := _next_page(fields):
            # Neither API documents pages, so that nobody knows how to ask for the next one.
            message = f"it is one page of several ({token} is set)"
            raise MalformedAnswerError(message)
        entries = fields.get(key)
        if entries is None and all(name == key or _is_about_pages(name) for name in fields):
            return Listing()
        if not isinstance(entries, list):
            message = f"the answer has no list {key!r}"
            raise MalformedAnswerError(message)
        found, unreadable = [], []
        for entry in entries:
            try:
                found.append(read(entry))
            except MalformedAnswerError:
                unreadable.append(_name_of(entry, name))
        return Listing(found, unreadable=unreadable)

    return read_body


def _name_of(entry: Any, field: str) -> str:
    name = entry.get(field) if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""


def _next_page(fields: Mapping[str, Any]) -> str:
    """Return the name of the field that says that another page follows; empty if there is none."""
    for name, value in fields.items():
        plain = _plain_name(name)
        if plain in _NEXT_PAGE_FIELDS and value:
            return name
        if plain in _PAGE_OBJECTS and isinstance(value, dict) and (inner := _next_page(value)):
            return f"{name}.{inner}"
    return ""


def _is_about_pages(name: str) -> bool:
    return _plain_name(name) in _NEXT_PAGE_FIELDS | _PAGE_OBJECTS


def _plain_name(name: str) -> str:
    return name.replace("_", "").lower()


def read_cluster(body: Any, **known: Any) -> Cluster:
    """Read a cluster whose wire fields have our names."""
    return read_model(Cluster, body, **known)


class _PlainNode(TypedDict, total=False):
    num_gpus: StrictInt | None


class _PlainTransition(TypedDict, total=False):
    phase: str | None


class _Plain(TypedDict, total=False):
    """A cluster as Together documents it, cut down to what those who wait must know."""

    cluster_id: Required[Annotated[str, Field(min_length=1)]]
    cluster_name: str | None
    status: str | None
    num_gpus: StrictInt | None
    gpu_worker_nodes: list[_PlainNode] | None
    phase_transitions: list[_PlainTransition] | None


class _PlainList(TypedDict):
    # Another field may say that the list is not whole: then it is read as leniently, and as carefully, as elsewhere.
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    #: An entry that surprises is read as leniently as everywhere else; the others are not slowed down by it.
    clusters: list[Annotated[_Plain | Cluster, Field(union_mode="left_to_right")]]


@functools.cache
def _plain_list() -> TypeAdapter[_PlainList]:
    return TypeAdapter(_PlainList)


def for_those_who_wait(call: Call[Listing[Cluster]]) -> Call[list[Sight]]:
    """
    Return the same request, whose answer is read many times faster.

    A list holds all clusters of an account, each with its nodes and kubeconfig, and is read again whenever one
    of them changes.
    """

    def decode(content: bytes) -> Sequence[_Plain | Cluster]:
        try:
            return _plain_list().validate_json(content)["clusters"]
        except ValidationError:
            return call.read(call.decode(content))  # which reads more, or says what is wrong

    return call.reading(decode, lambda entries: [_sight(entry) for entry in entries])


def _sight(entry: _Plain | Cluster) -> Sight:
    if isinstance(entry, Cluster):
        return entry.sight()
    counts = [count for node in entry.get("gpu_worker_nodes") or () if (count := node.get("num_gpus")) is not None]
    transitions = entry.get("phase_transitions")
    return Sight(
        entry["cluster_id"],
        entry.get("cluster_name") or "",
        printable(entry.get("status") or ""),
        printable(transitions[-1].get("phase") or "") if transitions else "",
        sum(counts) if counts else entry.get("num_gpus"),
    )


def read_success(body: Any) -> bool:
    """Read ``{"success": …}``. A refusal is an error status, so an answer that leaves it out is a success."""
    return read_object(body).get("success") is not False


def split_driver_version(driver_version: str) -> tuple[str, str]:
    """Return the CUDA and the NVIDIA driver version of ``CUDA_12_8_570``: ``("12.8", "570")``."""
    match = _DRIVER_VERSION.fullmatch(driver_version)
    if match is None:
        raise SpecError([f"driver_version={driver_version!r} is wrong: write it like 'CUDA_12_8_570'"])
    return f"{match[1]}.{match[2]}", match[3]


def join_driver_version(cuda: Any, driver: Any) -> str:
    """Return ``CUDA_12_8_570`` for ``12.8`` and ``570``; empty if they have another form."""
    if not isinstance(cuda, str) or not isinstance(driver, str):
        return ""
    joined = f"CUDA_{cuda.replace('.', '_')}_{driver}"
    return joined if _DRIVER_VERSION.fullmatch(joined) else ""


def refuse_unknown_fields(spec: Spec, known: Iterable[str], *, dialect: str, other: str) -> None:
    """
    Refuse fields that this dialect does not have.

    :raises SpecError: naming each of them.
    """
    allowed = set(known)
    lacking = [name for name in spec.given() if name not in allowed]
    if lacking:
        raise SpecError(
            [
                f"{name} does not exist in the {dialect} API: leave it out, or set api={other!r} in the connection"
                for name in lacking
            ]
        )


def refuse_unknown_word(field: str, value: str | None, known: Iterable[str], *, dialect: str) -> None:
    """
    Refuse an enum word that this dialect does not list.

    :raises SpecError: naming the words that it does.
    """
    words = list(known)
    if value is not None and value not in words:
        raise SpecError([f"{field}={value!r} does not exist in the {dialect} API: use one of {', '.join(words)}"])
