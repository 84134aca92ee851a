"""Volumes: where paths of mounts lead, and whose a shared volume's files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_together.emulator.kubernetes.environment import rewriter
from airflow_provider_together.emulator.kubernetes.objects import ApiError
from tests.emulator.kubernetes.conftest import MakeLab
from tests.emulator.kubernetes.lab import Lab, container, pod

SHARED = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
MOUNT = [{"name": "data", "mountPath": "/mnt/shared"}]


def claim(name: str = "data", **spec: Any) -> dict[str, Any]:
    default = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Ti"}},
        "storageClassName": "shared-wekafs",
        "volumeName": "datasets",
    }
    wanted = {field: value for field, value in {**default, **spec}.items() if value is not None}
    return {"metadata": {"name": name}, "spec": wanted}


def make_volume(lab: Lab, *, name: str = "datasets") -> str:
    body = {"volume_name": name, "size_tib": 2, "region": "us-central-8", "is_lifecycle_independent": True}
    answer = lab.http.post("/v1/compute/clusters/storage/volumes", json=body)
    answer.raise_for_status()
    return str(answer.json()["volume_id"])


def on_shared(script: str) -> dict[str, Any]:
    return pod("shared", containers=[container(script, volumeMounts=MOUNT)], volumes=SHARED)


def test_a_shared_volume_is_a_persistent_volume_of_its_name(make_lab: MakeLab, lab: Lab) -> None:
    with_volume = make_lab(volume_id=make_volume(lab))
    volume = with_volume.core.read_persistent_volume("datasets")
    assert volume.spec.capacity == {"storage": "2Ti"}
    assert volume.spec.access_modes == ["ReadWriteMany"]
    assert (volume.spec.storage_class_name, volume.status.phase) == ("shared-wekafs", "Available")
    assert lab.core.list_persistent_volume().items == []


def test_a_volume_that_grows_does_so_in_its_cluster(make_lab: MakeLab, lab: Lab) -> None:
    volume_id = make_volume(lab)
    core = make_lab(volume_id=volume_id).core
    body = {"volume_id": volume_id, "size_tib": 5}
    lab.http.put("/v1/compute/clusters/storage/volumes", json=body).raise_for_status()
    lab.wait(lambda: core.read_persistent_volume("datasets").spec.capacity == {"storage": "5Ti"})


def test_what_one_cluster_wrote_the_next_one_reads_until_the_volume_is_deleted(make_lab: MakeLab, lab: Lab) -> None:
    volume_id = make_volume(lab)
    for script, output in (("echo step 9 > /mnt/shared/checkpoint", ""), ("cat /mnt/shared/checkpoint", "step 9\n")):
        cluster = make_lab(volume_id=volume_id)
        cluster.core.create_namespaced_persistent_volume_claim("default", claim())
        found = cluster.run(on_shared(script))
        assert (found.status.phase, cluster.log(found.metadata.name)) == ("Succeeded", output)
        path = cluster.output(volumes=SHARED, containers=[container("echo /mnt/shared", volumeMounts=MOUNT)])
        cluster.delete_cluster()
    lab.http.delete(f"/v1/compute/clusters/storage/volumes/{volume_id}").raise_for_status()
    lab.wait(lambda: not Path(path.strip()).exists())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"storageClassName": "other"}, "storageClassName does not match"),
        ({"accessModes": ["ReadWriteOncePod"]}, "incompatible accessMode"),
    ],
)
def test_a_claim_that_does_not_fit_stays_pending(
    make_lab: MakeLab, lab: Lab, change: dict[str, Any], problem: str
) -> None:
    with_volume = make_lab(volume_id=make_volume(lab))
    with_volume.core.create_namespaced_persistent_volume_claim("default", claim(**change))
    with_volume.wait(lambda: with_volume.events("data"))
    text = f'Cannot bind to requested volume "datasets": {problem}'
    assert with_volume.events("data") == [("VolumeMismatch", text)]


@pytest.mark.parametrize(("storage_class", "claimed"), [("fast", "fast"), ("", ""), ("", None)])
def test_a_volume_may_have_another_class_and_is_bound_to_claims_of_that_one_only(
    make_lab: MakeLab, lab: Lab, storage_class: str, claimed: str | None
) -> None:
    with_volume = make_lab(volume_id=make_volume(lab))
    with_volume.handle.set_storage_class("datasets", storage_class)
    core = with_volume.core
    core.create_namespaced_persistent_volume_claim("default", claim("usual"))
    with_volume.wait(lambda: with_volume.events("usual"))
    text = 'Cannot bind to requested volume "datasets": storageClassName does not match'
    assert with_volume.events("usual") == [("VolumeMismatch", text)]
    core.create_namespaced_persistent_volume_claim("default", claim(storageClassName=claimed))
    with_volume.wait(lambda: core.read_namespaced_persistent_volume_claim("data", "default").status.phase == "Bound")
    assert core.read_persistent_volume("datasets").spec.claim_ref.name == "data"


def test_only_a_volume_that_is_there_can_have_another_class(lab: Lab) -> None:
    with pytest.raises(ApiError, match='persistentvolumes "none" not found'):
        lab.handle.set_storage_class("none", "fast")


def test_a_pod_waits_for_its_claim(lab: Lab) -> None:
    name = lab.create_pod(on_shared("true")).metadata.name
    lab.wait(lambda: lab.events(name))
    text = '0/2 nodes are available: persistentvolumeclaim "data" not found.'
    assert lab.events(name) == [("FailedScheduling", text)]
    lab.core.create_namespaced_persistent_volume_claim("default", claim())
    lab.wait(lambda: len(lab.events(name)) > 1)
    text = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    assert lab.events(name)[-1] == ("FailedScheduling", text)


def test_a_part_of_a_volume_can_be_mounted(lab: Lab) -> None:
    volumes = [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": "v", "mountPath": "/all"}, {"name": "v", "mountPath": "/part", "subPath": "a/b"}]
    one = container("echo x > /part/file; cat /all/a/b/file", volumeMounts=mounts)
    assert lab.output(containers=[one], volumes=volumes) == "x\n"


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("cat /mnt/shared/a", "cat /real/shared/a"),
        ("--out=/mnt/shared", "--out=/real/shared"),
        ("'/mnt/shared'; ls", "'/real/shared'; ls"),
        ("file:///mnt/shared/x", "file:///real/shared/x"),
        ("/mnt/shared.bak /mnt/shared-2 /mnt/sharedx", "/mnt/shared.bak /mnt/shared-2 /mnt/sharedx"),
        ("/data/mnt/shared", "/data/mnt/shared"),
        ("/mnt/shared/deep/a /mnt/shared/deeper", "/other/a /real/shared/deeper"),
        ("in /mnt/shared.", "in /real/shared."),
        ("/scratch/x", "/mnt/shared/x"),
    ],
)
def test_a_path_is_replaced_where_it_stands_for_the_mount(text: str, rewritten: str) -> None:
    paths = {"/mnt/shared": "/real/shared", "/mnt/shared/deep": "/other", "/scratch": "/mnt/shared"}
    rewrite = rewriter(paths)
    assert rewrite(text) == rewritten


def test_a_name_is_replaced_where_it_stands_for_the_host() -> None:
    rewrite = rewriter({"j-1.svc": "127.0.0.2", "j-1.svc.default": "127.0.0.2", "j-10.svc": "127.0.0.3"})
    assert rewrite("tcp://j-1.svc:29500 j-1.svc.default") == "tcp://127.0.0.2:29500 127.0.0.2"
    assert rewrite("j-10.svc j-1.svcs xj-1.svc") == "127.0.0.3 j-1.svcs xj-1.svc"
    assert rewriter({})("j-1.svc") == "j-1.svc"


def test_config_maps_and_secrets_are_files(lab: Lab) -> None:
    data = {"a.yaml": "lr: 1\n", "b": "2"}
    lab.core.create_namespaced_config_map("default", {"metadata": {"name": "c"}, "data": data})
    lab.core.create_namespaced_secret("default", {"metadata": {"name": "s"}, "stringData": {"key": "hidden\n"}})
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": "c", "items": [{"key": "a.yaml", "path": "sub/train.yaml"}]}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "gone", "secret": {"secretName": "none", "optional": True}},
    ]
    mounts = [{"name": name, "mountPath": f"/etc/{name}"} for name in ("config", "secret", "gone")]
    script = "cat /etc/config/sub/train.yaml /etc/secret/key; ls /etc/config /etc/gone | wc -l"
    found = lab.run(pod("files", containers=[container(script, volumeMounts=mounts)], volumes=volumes))
    assert lab.log(found.metadata.name).split() == ["lr:", "1", "hidden", "4"]


def test_a_pod_waits_for_a_secret_that_is_mounted(lab: Lab) -> None:
    one = container("cat /etc/late/key", volumeMounts=[{"name": "late", "mountPath": "/etc/late"}])
    volumes = [{"name": "late", "secret": {"secretName": "late"}}]
    name = lab.create_pod(pod("waits", containers=[one], volumes=volumes)).metadata.name
    lab.wait(lambda: ("FailedMount", 'MountVolume.SetUp failed: secret "late" not found') in lab.events(name))
    assert lab.pod(name).status.phase == "Pending"
    lab.core.create_namespaced_secret("default", {"metadata": {"name": "late"}, "stringData": {"key": "here"}})
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")
    assert lab.log(name) == "here"


def test_a_claim_is_bound_to_the_volume_that_it_names(make_lab: MakeLab, lab: Lab) -> None:
    with_volume = make_lab(volume_id=make_volume(lab))
    core = with_volume.core
    core.create_namespaced_persistent_volume_claim("default", claim())
    with_volume.wait(lambda: core.read_namespaced_persistent_volume_claim("data", "default").status.phase == "Bound")
    assert core.read_persistent_volume("datasets").spec.claim_ref.name == "data"
    core.create_namespaced_persistent_volume_claim("default", claim("second"))
    with_volume.wait(lambda: with_volume.events("second"))
    text = 'Cannot bind to requested volume "datasets": it is already bound to a different claim'
    assert with_volume.events("second") == [("VolumeMismatch", text)]
