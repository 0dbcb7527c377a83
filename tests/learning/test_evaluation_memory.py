"""A worker evaluates again and again without growing."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.evaluation import EvaluateAsk, evaluate_version
from actors.heartbeat import memory
from actors.study_period import Period
from actors.version_registry import ensure_baseline
from desk.clock import ManualClock
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.market.candles import Candles
from desk.store.valkey import ValkeyStore

WARM_UP, EVALUATIONS = 20, 300
MOST_GROWTH = 0.05

type Cut = Callable[[int, int], Period]


def resident_bytes(
    home: Path, store: ValkeyStore, market: Candles, period: Period, evaluations: int
) -> tuple[int, int]:
    """Resident memory of this process after the warm-up, and after so many evaluations more."""
    ensure_baseline(home, store, "desk", 1_000)
    ask = EvaluateAsk(period=period, version_id=BASELINE_VERSION_ID)
    after_warm_up = 0
    for number in range(WARM_UP + evaluations):
        if number == WARM_UP:
            gc.collect()
            after_warm_up = memory()[0]
        evaluate_version(home, store, market, ask, clock=ManualClock(5_000 + number))
    gc.collect()
    return after_warm_up, memory()[0]


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_three_hundred_evaluations_in_a_row_leave_the_worker_as_large_as_it_was(
    tmp_path: Path,
    store: ValkeyStore,
    market: Candles,
    period: Cut,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = resident_bytes(tmp_path, store, market, period(400, 2_900), EVALUATIONS)
    with capsys.disabled():
        print(f"\n{before / 1e6:.0f} MB, after {EVALUATIONS} evaluations {after / 1e6:.0f} MB")

    assert after <= before * (1.0 + MOST_GROWTH)
