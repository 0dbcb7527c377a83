"""Trial tasks on a small market, for tests that need no store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from desk.engines.trials import TrialTask
from desk.evaluation.forward_folds import Account, plan_stretches
from desk.learning.arrays import MarketArrays
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.tape import Market
from tests.learning.conftest import INSTRUMENT
from tests.sweeps.trainers import quick_train


def task_on(candles: Candles, home: Path, **changes: Any) -> TrialTask:
    """Three checkpoints of 1,000 steps, two seeds, two folds, trained in milliseconds."""
    market = Market.of(candles, INSTRUMENT, FillSpec())
    arrays = MarketArrays.from_market(market, FEATURES_V1.compute(candles))
    task = TrialTask(
        home=home,
        sweep_id="quick-1",
        arrays=arrays,
        features=FEATURES_V1,
        stretches=plan_stretches(
            len(arrays), is_walk_forward=False, folds=2, train_fraction=0.5, purge=60, embargo=0
        ),
        seeds=(7, 8),
        total_steps=3_000,
        checkpoint_every_steps=1_000,
        metric="net_return",
        account=Account(
            cash=10_000.0, size_quote=5_000.0, decision_threshold=0.35, feature_limit=6.0
        ),
        train=quick_train,
    )
    return replace(task, **changes)
