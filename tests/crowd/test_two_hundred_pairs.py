"""Two hundred pairs on one desk: some in each poller, every one read, asked and backfilled by its name.

In the longer tier. Prints what an actor and a pair cost in memory, which `docs/scaling.md` is about.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.commands import BackfillAsk
from actors.names import CANDLE_POLLER
from actors.wiring import PolicyMode
from desk.clock import HOUR_MS
from desk.runs import JobStatus
from desk.store import kinds
from tests.cluster.conftest import running_desk
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.soak.processes import own_bytes

PAIRS, POLLERS = 200, 8
SPEED = 1.0
"""The wall's: the exchange's rate is a second's of the wall, and pairs wait for their turns as it is."""
SERIES_S = 900.0
"""A round of all pairs at the exchange's rate takes a quarter of it."""

pytestmark = [pytest.mark.cluster, pytest.mark.nightly, pytest.mark.timeout(3_600)]


@pytest.fixture(scope="module")
def desk(ray_session: None, launch: Callable[..., Any]) -> Iterator[RunningDesk]:
    simulator = launch(speed=SPEED, seed=11, extra_pairs=PAIRS - 3)
    pairs = tuple(sorted(simulator.state()["prices"]))
    many = {"pairs": pairs, "pair_pollers": POLLERS}
    with running_desk(simulator, PolicyMode.LOCAL, has_run=False, **many) as running:
        yield running


def test_each_of_two_hundred_pairs_is_read_and_asked_by_its_name(
    desk: RunningDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = desk.wiring.pairs
    assert len(pairs) == PAIRS

    def newest() -> dict[str, int]:
        found = {pair: desk.store.candle_bounds(pair, "1m") for pair in pairs}
        return {pair: bounds[1] for pair, bounds in found.items() if bounds}

    eventually(lambda: len(newest()) == PAIRS, within_s=SERIES_S, what="a candle of every pair")
    before = newest()
    eventually(
        lambda: all(newest()[pair] > before[pair] for pair in pairs),
        within_s=SERIES_S,
        what="a later candle of every pair",
    )
    last = pairs[-1]
    clock = desk.store.get(kinds.STATE, "clock")
    assert clock is not None
    ask = BackfillAsk(pair=last, interval="1m", start_ms=clock.value["market_ms"] - 6 * HOUR_MS)
    job = desk.command(lambda each: each.backfill(ask, actor="test", trace_id="trb-last"))
    eventually(lambda: _is_done(desk, job.job_id), within_s=SERIES_S, what=f"a backfill of {last}")

    rows = {doc.key: doc.value for doc in desk.store.list(kinds.ACTORS, limit=500)}
    pollers = {key: row for key, row in rows.items() if row.role == CANDLE_POLLER.name}
    own = {key: own_bytes(row.pid) or 0 for key, row in pollers.items()}
    with capsys.disabled():
        told = {
            "pairs": PAIRS,
            "pollers": len(pollers),
            "poller_own_mb": round(sum(own.values()) / len(own) / 1e6, 1),
            "poller_rss_mb": round(sum(row.rss_bytes for row in pollers.values()) / len(own) / 1e6),
            "store_mb": round((own_bytes(desk.store_server.pid) or 0) / 1e6, 1),
        }
        print("", json.dumps(told), sep="\n")
    assert len(pollers) == POLLERS
    assert all(row.status == "up" and row.restarts == 0 for row in pollers.values())


def _is_done(desk: RunningDesk, job_id: str) -> bool:
    row = desk.store.get(kinds.JOBS, job_id)
    assert row is not None
    assert row.value.status is not JobStatus.FAILED, row.value.error
    return row.value.status is JobStatus.DONE
