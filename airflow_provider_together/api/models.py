"""
What things are: clusters, nodes, volumes and regions as Together answers them.

What a user *asks for* is in :mod:`.specs`: it is strict, while these models are lenient, since
an answer that surprises us must not cost anybody a running cluster. Unknown fields are kept, unknown
words are kept, missing or null fields get an empty value; only an answer that has no id is refused.
It imports :mod:`.phase` and :mod:`.wording` only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, computed_field

from airflow_provider_together.api.phase import Phase, failure_word, phase_of
from airflow_provider_together.api.wording import printable

T = TypeVar("T")


def _as_text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _as_word(value: Any) -> str:
    """Read a word that is shown to people, and by which nobody is told from another: a status, a region."""
    return printable(_as_text(value))


def _as_count(value: Any) -> int | None:
    """Read a number leniently: a count that cannot be read is unknown, not an error."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _as_amount(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _as_time(value: Any) -> datetime | None:
    """Read an RFC 3339 time; the zero time of protobuf and anything unreadable is no time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None and moment.year > 1 else None


def _as_objects(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _as_words(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


Text = Annotated[str, BeforeValidator(_as_text)]
Word = Annotated[str, BeforeValidator(_as_word)]
Count = Annotated[int | None, BeforeValidator(_as_count)]
Amount = Annotated[float | None, BeforeValidator(_as_amount)]
Time = Annotated[datetime | None, BeforeValidator(_as_time)]
Objects = Annotated[list[T], BeforeValidator(_as_objects)]
Words = Annotated[list[Text], BeforeValidator(_as_words)]


class Answer(BaseModel):
    """Base of everything read from Together: fields that we do not know are kept in ``model_extra``."""

    # A model is built when the first answer of its kind is read.
    model_config = ConfigDict(
        extra="allow", frozen=True, hide_input_in_errors=True, protected_namespaces=(), defer_build=True
    )


class PhaseTransition(Answer):
    """One step of a cluster's or a node's life."""

    phase: Word = ""
    transition_time: Time = None


class Node(Answer):
    """One machine of a cluster: a control plane node, or a worker with its GPUs."""

    node_id: Text = ""
    node_name: Text = ""
    host_name: Text = ""
    status: Word = ""
    num_gpus: Count = None
    num_cpu_cores: Count = None
    memory_gib: Amount = None
    network: Text = ""
    networks: Words = Field(default_factory=list)
    public_ipv4: Text = ""
    instance_id: Text = ""
    slurm_worker_hostname: Text = ""
    phase_transitions: Objects[PhaseTransition] = Field(default_factory=list)

    @property
    def name(self) -> str:
        """The best name that the dialect gives: one has node names, the other only host names."""
        return self.node_name or self.host_name or self.node_id


class SharedVolume(Answer):
    """A shared volume. ``status`` is empty where the dialect has none."""

    volume_id: Annotated[str, Field(min_length=1)]
    volume_name: Text = ""
    size_tib: Count = None
    status: Word = ""


class AttachedVolume(Answer):
    """A volume as a cluster's answer lists it."""

    volume_id: Text = ""
    volume_name: Text = ""
    size_tib: Count = None
    status: Word = ""


class DriverVersion(Answer):
    """
    NVIDIA software that a region offers.

    :param driver_version: in the operators' spelling, ``CUDA_12_8_570``.
    :param id: the region's catalogue id (``nvidia_version_id``), where the dialect has one.
    """

    driver_version: Text = ""
    id: Text = ""
    os: Text = ""


class Region(Answer):
    """A region and what is available there. ``gpu_types`` is empty where the dialect does not tell."""

    name: Word = ""
    gpu_types: Words = Field(default_factory=list)
    driver_versions: Objects[DriverVersion] = Field(default_factory=list)


class Listing(list[T]):
    """
    The entries of a list, and what of the list could not be read.

    An entry that has no id makes nobody's cluster absent: whoever looks for something by its name looks here as well.

    :param entries: those that could be read.
    :param unreadable: the names of the others; an empty text for one that has no name either.
    """

    def __init__(self, entries: Iterable[T] = (), *, unreadable: Iterable[str] = ()) -> None:
        super().__init__(entries)
        self.unreadable = tuple(unreadable)


class Cluster(Answer):
    """
    A GPU cluster.

    :param status: the raw word of the answer, for people; decide by ``phase``.
    :param kube_config: as it came (base64 or YAML), never shown; ``kubeconfig()`` decodes it.
    """

    cluster_id: Annotated[str, Field(min_length=1)]
    cluster_name: Text = ""
    status: Word = ""
    cluster_type: Text = ""
    region: Word = ""
    gpu_type: Word = ""
    num_gpus: Count = None
    driver_version: Text = ""
    billing_type: Word = ""
    project_id: Text = ""
    duration_hours: Count = None
    created_at: Time = None
    first_ready_at: Time = None
    reservation_start_time: Time = None
    reservation_end_time: Time = None
    volumes: Objects[AttachedVolume] = Field(default_factory=list)
    control_plane_nodes: Objects[Node] = Field(default_factory=list)
    gpu_worker_nodes: Objects[Node] = Field(default_factory=list)
    phase_transitions: Objects[PhaseTransition] = Field(default_factory=list)
    kube_config: Annotated[SecretStr, BeforeValidator(_as_text)] = Field(default=SecretStr(""), repr=False)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def phase(self) -> Phase:
        """Where the cluster is in its life."""
        return phase_of(self.status, self._transition_names)

    @property
    def failure(self) -> str:
        """The raw word that says why a FAILED cluster failed."""
        return failure_word(self.status, self._transition_names)

    @property
    def _transition_names(self) -> list[str]:
        return [transition.phase for transition in self.phase_transitions]

    def gpus_present(self) -> int | None:
        """Return the GPUs of the workers that are there; while none are listed, the number asked for."""
        counts = [node.num_gpus for node in self.gpu_worker_nodes if node.num_gpus is not None]
        return sum(counts) if counts else self.num_gpus

    def kubeconfig(self) -> str | None:
        """Return the kubeconfig as YAML text, or None while the cluster has none."""
        raw = self.kube_config.get_secret_value().strip()
        return decode_kubeconfig(raw) if raw else None

    def sight(self) -> Sight:
        """Return what a wait must know of it."""
        names = self._transition_names
        return Sight(self.cluster_id, self.cluster_name, self.status, names[-1] if names else "", self.gpus_present())

    def __repr__(self) -> str:
        return f"Cluster({self.cluster_id!r}, name={self.cluster_name!r}, status={self.status!r})"

    __str__ = __repr__


class Sight(NamedTuple):
    """
    The little of a cluster that decides a wait: two that are equal mean the same.

    :param latest: raw name of the last phase gone through; empty if the answer tells none.
    :param gpus: see :meth:`Cluster.gpus_present`.
    """

    cluster_id: str
    cluster_name: str
    status: str
    latest: str = ""
    gpus: int | None = None

    @property
    def phase(self) -> Phase:
        """See :attr:`Cluster.phase`."""
        return phase_of(self.status, (self.latest,))

    @property
    def failure(self) -> str:
        """See :attr:`Cluster.failure`."""
        return failure_word(self.status, (self.latest,))

    def gpus_present(self) -> int | None:
        """See :meth:`Cluster.gpus_present`."""
        return self.gpus


def decode_kubeconfig(raw: str) -> str:
    """
    Return YAML text from either spelling: the current API sends base64, the older one's is undocumented.

    YAML of a mapping holds a colon, which base64 never does.
    """
    if ":" in raw:
        return raw
    try:
        return base64.b64decode("".join(raw.split()), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return raw
