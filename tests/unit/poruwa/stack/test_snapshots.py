"""Metrics of workers that come and go: counters never fall (E1)."""

from __future__ import annotations

from poruwa.observe.metrics import GatewayMetrics, MetricsSnapshot
from poruwa.stack.snapshots import SnapshotKeeper


class Workers:
    """Workers that answer or are silent."""

    def __init__(self, count: int) -> None:
        self.metrics = {index: GatewayMetrics(started_at=0.0) for index in range(count)}
        self.silent: set[int] = set()

    async def request(self, index: int, seconds: float) -> bytes | None:
        return None if index in self.silent else self.metrics[index].snapshot()


def requests(total: MetricsSnapshot) -> float:
    return sum(sum(row.values[:-3]) for row in total.rows)


async def test_silent_and_dead_workers_count_with_what_they_said_last() -> None:
    workers = Workers(2)
    keeper = SnapshotKeeper(lambda: range(2), workers.request)
    for index in (0, 1):
        workers.metrics[index].record("home", 200, "app.1", 0.01, 10, 20)
        workers.metrics[index].in_flight = {"app.1": 1}
    await keeper.refresh()
    assert requests(keeper.total()) == 2
    workers.silent.add(1)
    await keeper.refresh()
    assert requests(keeper.total()) == 2
    keeper.retire(1)
    workers.metrics[1] = GatewayMetrics(started_at=1.0)
    total = keeper.total()
    assert requests(total) == 2
    assert total.in_flight == {"app.1": 1}  # a dead worker has nothing in flight
    assert len(total.workers) == 1
    workers.silent.clear()
    for _ in range(3):
        workers.metrics[1].record("home", 200, "app.1", 0.01, 10, 20)
        await keeper.refresh()
        keeper.retire(1)
        workers.metrics[1] = GatewayMetrics(started_at=1.0)
    assert requests(keeper.total()) == 5


async def test_a_worker_that_never_answered_leaves_nothing() -> None:
    keeper = SnapshotKeeper(lambda: range(1), Workers(1).request)
    keeper.retire(0)
    assert requests(keeper.total()) == 0
