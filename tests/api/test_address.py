"""Where a connection leads does not depend on how its host is spelled."""

from __future__ import annotations

import pytest

from airflow_provider_together.api.address import address_of
from airflow_provider_together.api.dialects import DIALECTS
from airflow_provider_together.exceptions import ConfigurationError
from tests.support.engine import all_calls

OLDER = ("https://manager.cloud.together.ai", "tcloud")
CURRENT = ("https://api.together.ai", "compute")


@pytest.mark.parametrize(
    "host",
    [
        "api.together.ai",
        "https://api.together.ai",
        "https://api.together.ai/",
        "api.together.ai:443",
        "https://api.together.ai:443/",
        "API.Together.AI",
        "api.together.ai.",
        " HTTPS://API.TOGETHER.AI.:443// \n",
        "api.together.ai/v1",
        "https://api.together.ai/v1/",
        "https://api.together.ai//v1",
        "https://api.together.ai/v1/compute",
        "https://api.together.ai/v1/compute/clusters",
        "https://api.together.ai/v1/compute/clusters/storage/volumes",
        "https://api.together.ai/v1/compute/regions",
    ],
)
@pytest.mark.parametrize("port", [None, 443])
@pytest.mark.parametrize("api", ["", "compute"])
def test_the_current_apis_host_is_known_in_every_spelling(host: str, port: int | None, api: str) -> None:
    assert address_of(host, port=port, api=api) == CURRENT


@pytest.mark.parametrize(
    "host",
    [
        "",
        "manager.cloud.together.ai",
        "Manager.Cloud.Together.ai:443",
        "https://manager.cloud.together.ai/api/v1",
        "https://manager.cloud.together.ai/api/v1/gpu_cluster",
        "https://manager.cloud.together.ai/api/v1/gpu_clusters/",
        "https://manager.cloud.together.ai/api/v1/shared_volumes/v-1",
    ],
)
@pytest.mark.parametrize("api", ["", "tcloud"])
def test_the_older_apis_host_is_known_in_every_spelling(host: str, api: str) -> None:
    assert address_of(host, port=None, api=api) == OLDER


@pytest.mark.parametrize("host", ["api.together.xyz", "https://api.together.xyz/v1"])
def test_the_older_domain_serves_the_current_api(host: str) -> None:
    assert address_of(host, port=None, api="") == ("https://api.together.xyz", "compute")


@pytest.mark.parametrize(
    ("host", "api", "address"),
    [
        ("https://gateway.example", "", ("https://gateway.example", "tcloud")),
        ("https://gateway.example/v1", "", ("https://gateway.example", "compute")),
        ("https://gateway.example/api/v1", "", ("https://gateway.example", "tcloud")),
        ("https://gateway.example/together", "compute", ("https://gateway.example/together", "compute")),
        ("https://gateway.example/v1/together/", "compute", ("https://gateway.example/v1/together", "compute")),
        ("https://gateway.example/together/v1", "", ("https://gateway.example/together", "compute")),
        ("https://gateway.example:8443/a/api/v1/gpu_cluster", "", ("https://gateway.example:8443/a", "tcloud")),
        ("https://gateway.example/api", "", ("https://gateway.example/api", "tcloud")),
        ("https://gateway.example/tv1", "", ("https://gateway.example/tv1", "tcloud")),
    ],
)
def test_a_path_of_a_reverse_proxy_stays_and_one_of_the_api_goes(host: str, api: str, address: tuple[str, str]) -> None:
    assert address_of(host, port=None, api=api) == address


@pytest.mark.parametrize("name", DIALECTS)
def test_the_path_of_every_request_can_stand_in_the_host(name: str) -> None:
    for call in all_calls(DIALECTS[name]()).values():
        assert address_of(f"https://gateway.example{call.path}", port=None, api="") == ("https://gateway.example", name)


def test_what_is_said_counts_more_than_what_the_host_is_known_for() -> None:
    assert address_of("api.together.ai", port=None, api="tcloud") == ("https://api.together.ai", "tcloud")


@pytest.mark.parametrize(
    ("host", "api", "words"),
    [
        ("https://x.example/v1", "tcloud", ["path '/v1'", "api='compute'", "the extra means api='tcloud'", "leave"]),
        ("https://x.example/a/api/v1/", "compute", ["api/v1' belongs to api='tcloud'", "or set api='tcloud'"]),
        ("https://api.together.ai/api/v1", "", ["belongs to api='tcloud'", "this host means api='compute'"]),
        ("https://manager.cloud.together.ai/v1", "", ["belongs to api='compute'", "leave the path out"]),
        ("https://api.together.ai/settings/api-keys", "", ["'/settings/api-keys'", "https://api.together.ai (api"]),
        ("https://api.together.ai/v1/chat/completions", "", ["'/v1/chat/completions'"]),
        ("https://api.together.xyz/playground", "compute", ["'/playground'"]),
        ("https://cloud.together.ai", "", ["'cloud.together.ai' is a website", "https://manager.cloud.together.ai"]),
        ("www.together.ai", "compute", ["'www.together.ai' is a website", "https://api.together.ai"]),
        ("Together.AI/", "", ["'together.ai' is a website"]),
        ("docs.together.ai/reference", "", ["'docs.together.ai' is a website"]),
        ("", "v3", ["api='v3'"]),
        ("gateway.example", "v3", ["api='v3'"]),
    ],
)
def test_a_host_that_cannot_be_the_api_is_told_with_the_remedy(host: str, api: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        address_of(host, port=None, api=api)
    assert [word for word in words if word not in str(caught.value)] == []
