"""Many policies before the gate: random ones, the luckiest of many, and such as learnt something.

Every market is generated from its seed. A policy is judged as an evaluation judges it, on candles it
never saw; where one was chosen among many by its result, the gate is told among how many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from desk.engines import nautilus
from desk.evaluation.assess import compare
from desk.evaluation.fast import replay_compiled, run_policy
from desk.evaluation.gates import judge, judge_evidence
from desk.evaluation.metrics import measure
from desk.evaluation.overfitting import Trials
from desk.evaluation.plan import replay
from desk.evaluation.rivals import Rival, Terms, yearly
from desk.evaluation.walk_forward import Rows
from desk.evaluation.weigh import Judged, weigh
from desk.learning.arrays import MarketArrays
from desk.learning.baseline import baseline_card, baseline_tensors
from desk.learning.policy import LEVELS, MlpPolicy, load_policy
from desk.learning.policy_lanes import forward_lanes
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.runs import PromotionGate
from desk.trading.fills import FillSpec
from desk.trading.tape import Market
from tests.learning.conftest import INSTRUMENT

CASH = Decimal(10_000)
TERMS = Terms(size_quote=1_000.0, cash=float(CASH))
THRESHOLD, LIMIT = 0.35, 6.0
WARM_UP = FEATURES_V1.lookback
LUCKY_OF = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """Candles to be judged on."""

    market: Market
    arrays: MarketArrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the gate said, and figures to tell a population by."""

    reasons: tuple[str, ...]
    trades: int
    net_pnl: float
    deflated_sharpe: float

    @property
    def passed(self) -> bool:
        return not self.reasons


def ground(candles: Candles) -> Ground:
    """The market of generated candles, their features known from the first row on."""
    features = FEATURES_V1.compute(candles)[WARM_UP:]
    market = Market.of(candles.take(slice(WARM_UP, None)), INSTRUMENT, FillSpec())
    return Ground(market=market, arrays=MarketArrays.from_market(market, features))


def judged(
    where: Ground, policy: MlpPolicy, *, trials: Trials | None = None, by_nautilus: bool = False
) -> Judgement:
    """Judge a policy as `actors.evaluation` does; without Nautilus its figures are the kernel's."""
    forward = forward_lanes(policy)
    plan = run_policy(
        where.arrays,
        forward,
        levels=LEVELS,
        threshold=THRESHOLD,
        size_quote=TERMS.size_quote,
        cash=TERMS.cash,
        feature_limit=LIMIT,
    ).plan
    run = nautilus.evaluate if by_nautilus else replay_compiled
    done = run(where.market, plan, CASH)
    twin = replay(where.market, plan, CASH) if by_nautilus else done
    metrics = measure(where.market, done, CASH)
    evidence = weigh(
        where.market,
        Judged(
            forward=forward,
            levels=LEVELS,
            features=where.arrays.features,
            threshold=THRESHOLD,
            feature_limit=LIMIT,
            plan=plan,
            metrics=metrics,
            trained=Rows(0, 0),
        ),
        [trend_rule(where)],
        TERMS,
        trials=trials,
    ).evidence
    parity = compare(done, twin, CASH, INSTRUMENT)
    first = judge(metrics, parity, PromotionGate())
    second = judge_evidence(evidence, metrics.net_pnl_after_fees)
    return Judgement(
        reasons=(*first.reasons, *second.reasons),
        trades=metrics.trade_count,
        net_pnl=float(metrics.net_pnl_after_fees),
        deflated_sharpe=evidence.deflated_sharpe,
    )


def trend_rule(where: Ground) -> Rival:
    policy = load_policy(baseline_card(), baseline_tensors())
    return Rival(
        name="trend_rule",
        version_id=policy.version_id,
        forward=forward_lanes(policy),
        levels=policy.levels,
        features=where.arrays.features,
    )


def linear_policy(
    weights: np.ndarray, *, enter: float, leave: float, steepness: float
) -> MlpPolicy:
    """A rule: long above `enter` of a weighted sum of features, until it falls below `leave`."""
    matrix = np.zeros((3, FEATURES_V1.size + 1), dtype=np.float32)
    matrix[0, :-1], matrix[2, :-1] = -steepness * weights, steepness * weights
    loyalty = steepness * (enter - leave)
    matrix[:, -1] = [-loyalty, 0.0, loyalty]
    bias = np.array([0.0, steepness * enter, 0.0], dtype=np.float32)
    return MlpPolicy(
        version_id="linear",
        algorithm="linear",
        is_baseline=False,
        feature_set_id=FEATURES_V1.feature_set_id,
        levels=LEVELS,
        layers=((matrix, bias),),
    )


def random_policy(seed: int) -> MlpPolicy:
    """Any weights, and a turnover from once in days to every few minutes."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0.0, 1.0, FEATURES_V1.size) * (rng.random(FEATURES_V1.size) < 0.4)
    enter = float(rng.uniform(0.1, 2.5))
    return linear_policy(
        weights,
        enter=enter,
        leave=float(rng.uniform(-1.0, 1.0)) * enter,
        steepness=float(rng.uniform(1.0, 6.0)),
    )


def fitted_policy(candles: Candles, *, horizon: int = 60) -> MlpPolicy:
    """What least squares learn of the return over the next `horizon` candles."""
    features = FEATURES_V1.compute(candles)[WARM_UP:-horizon]
    close = np.log(candles.close)
    ahead = (close[horizon:] - close[:-horizon])[WARM_UP:]
    square = features.T @ features + 10.0 * len(features) ** 0.5 * np.eye(features.shape[1])
    weights = np.linalg.solve(square.astype(np.float64), features.T @ ahead)
    spread = float((features @ weights).std())
    return linear_policy(weights / spread, enter=0.6, leave=0.0, steepness=5.0)


def luckiest(where: Ground, seeds: Sequence[int]) -> tuple[MlpPolicy, Trials]:
    """The random policy that earned most on the very candles it is judged on, and all that were tried."""
    found: list[tuple[float, MlpPolicy]] = []
    for seed in seeds:
        policy = random_policy(seed)
        run = run_policy(
            where.arrays,
            forward_lanes(policy),
            levels=LEVELS,
            threshold=THRESHOLD,
            size_quote=TERMS.size_quote,
            cash=TERMS.cash,
            feature_limit=LIMIT,
        )
        hourly = np.diff(run.equity[59::60])
        spread = float(hourly.std(ddof=1))
        ratio = float(hourly.mean()) / spread if spread > 0 else 0.0
        found.append((ratio * yearly(60_000) ** 0.5, policy))
    best = max(found, key=lambda each: each[0])
    return best[1], Trials(count=len(found), sharpes=tuple(ratio for ratio, _ in found))


def random_population(
    generate: Callable[..., Candles], count: int, candles: int
) -> list[Judgement]:
    """Judge `count` random policies, every fifth the luckiest of `LUCKY_OF`, each on a market of its own."""
    found: list[Judgement] = []
    for number in range(count):
        where = ground(generate(candles, seed=50_000 + number))
        if number % 5 == 4:
            policy, trials = luckiest(where, range(1_000 * number, 1_000 * number + LUCKY_OF))
            found.append(judged(where, policy, trials=trials))
        else:
            found.append(judged(where, random_policy(number)))
    return found


def told(name: str, found: Sequence[Judgement]) -> str:
    """How many passed, with Clopper and Pearson's 95 % interval, and why the others did not."""
    passed = sum(one.passed for one in found)
    low, high = binomial_interval(passed, len(found))
    why: dict[str, int] = {}
    for one in found:
        for reason in one.reasons:
            why[reason] = why.get(reason, 0) + 1
    earned = np.median([one.net_pnl for one in found])
    return (
        f"{name}: {passed} of {len(found)} passed ({low:.1%} to {high:.1%}), median {earned:+.0f} "
        f"USDT, {np.median([one.trades for one in found]):.0f} trades; {why}"
    )


def binomial_interval(passed: int, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(passed, count).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)
