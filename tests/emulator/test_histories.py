"""Whatever is done in whatever order: what holds at every moment of an emulated cloud."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from airflow_provider_together.emulator.errors import ConflictError, OutOfStockError
from airflow_provider_together.emulator.model import Cluster, ClusterWish
from airflow_provider_together.emulator.options import Options
from airflow_provider_together.emulator.simulation import Simulation
from tests.contract.schema import DialectName
from tests.emulator.conftest import Connect, Start

CAPACITY = 64
GPUS = st.sampled_from([8, 16, 32, 64])
LONGER_THAN_ANY_CHANGE = 7200


class Histories(RuleBasedStateMachine):
    """Creates, resizes, failures, deletions and the passing of time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation(Options(speed=0, seed=0, capacity={"us-central-8:H100_SXM": CAPACITY}))
        self.world = self.simulation.world
        self.billed = 0.0

    @property
    def now(self) -> float:
        return self.simulation.clock.now()

    def pick(self, index: int) -> Cluster:
        clusters = self.world.all_clusters()
        return clusters[index % len(clusters)]

    def has_clusters(self) -> bool:
        return bool(self.world.all_clusters())

    @rule(gpus=GPUS, billing=st.sampled_from(["ON_DEMAND", "RESERVED"]))
    def create(self, gpus: int, billing: str) -> None:
        wish = ClusterWish(
            name="c",
            region="us-central-8",
            gpu_type="H100_SXM",
            num_gpus=gpus,
            billing_type=billing,
            duration_days=1,
        )
        try:
            self.world.create_cluster(wish)
        except OutOfStockError:
            assert gpus > CAPACITY - self.held()

    @precondition(has_clusters)
    @rule(index=st.integers(0, 9), gpus=GPUS)
    def resize(self, index: int, gpus: int) -> None:
        cluster = self.pick(index)
        try:
            self.world.resize_cluster(cluster, num_gpus=gpus)
        except ConflictError:
            assert cluster.num_gpus != gpus or cluster.is_ending(self.now)

    @precondition(has_clusters)
    @rule(index=st.integers(0, 9))
    def delete(self, index: int) -> None:
        self.world.delete_cluster(self.pick(index))

    @precondition(has_clusters)
    @rule(index=st.integers(0, 9), word=st.sampled_from(["READY", "FAILED", "PENDING", "Degraded"]))
    def set_status(self, index: int, word: str) -> None:
        cluster = self.pick(index)
        if not cluster.is_gone(self.now):
            self.simulation.set_status(cluster.cluster_id, word)

    @rule(seconds=st.sampled_from([1, 45, 300, 1000, 90_000]))
    def advance(self, seconds: int) -> None:
        self.simulation.advance(seconds)

    def held(self) -> int:
        return sum(cluster.gpus_held(self.now) for cluster in self.world.all_clusters())

    @invariant()
    def no_more_is_rented_out_than_there_is(self) -> None:
        assert 0 <= self.held() <= CAPACITY

    @invariant()
    def billing_never_goes_back(self) -> None:
        billed = self.simulation.ledger().gpu_hours
        assert billed >= self.billed
        self.billed = billed

    @invariant()
    def what_is_gone_stays_gone_and_holds_nothing(self) -> None:
        for cluster in self.world.all_clusters():
            if cluster.is_gone(self.now):
                assert cluster.gpus_held(self.now) == 0
                assert cluster.cluster_id not in {alive.cluster_id for alive in self.simulation.alive()}

    @invariant()
    def the_past_is_told_in_order(self) -> None:
        for cluster in self.world.all_clusters():
            times = [step.at for step in cluster.transitions(self.now)]
            assert times == sorted(times)
            assert times[-1] <= self.now

    def teardown(self) -> None:
        for cluster in self.world.all_clusters():
            self.world.delete_cluster(cluster)
        self.simulation.advance(LONGER_THAN_ANY_CHANGE)
        assert self.simulation.alive() == []
        assert self.held() == 0


TestHistories = Histories.TestCase
TestHistories.settings = hypothesis.settings(
    max_examples=60, stateful_step_count=25, derandomize=True, database=None, deadline=None
)


def test_clients_at_the_same_time_never_get_more_than_there_is(
    start: Start, connect: Connect, dialect: DialectName
) -> None:
    emulator = start(capacity={"us-central-8:H100_SXM": 32})
    wire = connect(emulator, dialect)
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: wire.post_cluster().status_code, range(12)))
    assert sorted(statuses) == [200] * 4 + [409] * 8
    assert len(emulator.alive()) == 4


@pytest.mark.parametrize("gpus", [8, 64])
def test_a_resized_cluster_has_the_nodes_it_says(
    start: Start, connect: Connect, dialect: DialectName, gpus: int
) -> None:
    emulator = start()
    wire = connect(emulator, dialect)
    cluster_id = wire.create(num_gpus=32)
    emulator.advance(3600)
    # A second change of mind before the first is done.
    wire.resize(cluster_id, 16)
    emulator.advance(10)
    wire.resize(cluster_id, gpus)
    emulator.advance(LONGER_THAN_ANY_CHANGE)
    assert len(wire.get(cluster_id)["gpu_worker_nodes"]) == gpus // 8
