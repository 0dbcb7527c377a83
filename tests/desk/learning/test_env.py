"""The training environment: Gymnasium's contract, and money that obeys the fill rules."""

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from desk.errors import BadInput
from desk.evaluation.plan import Plan, replay
from desk.learning.arrays import MarketArrays
from desk.learning.env import TradingEnv, TradingVectorEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.observation import observation
from desk.market.candles import Candles
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.trading.intents import Protection
from desk.trading.tape import Market

ROWS = 3_000
SHORT, FLAT, LONG = 0, 1, 2
HOUR_MS = 3_600_000
EXITS = Protection(stop_loss_fraction=Decimal("0.01"), take_profit_fraction=Decimal("0.02"))
BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)


@pytest.fixture(scope="module")
def market(walk: Callable[..., Candles]) -> Market:
    candles = walk(ROWS)
    first = int(candles.open_ms[0])
    rates = [(first // HOUR_MS * HOUR_MS + n * 8 * HOUR_MS, Decimal("0.0003")) for n in range(8)]
    return Market.of(candles, BTC, FillSpec(slippage_bps=Decimal(2)), rates)


@pytest.fixture(scope="module")
def arrays(market: Market) -> MarketArrays:
    features = np.random.default_rng(1).normal(0, 1, (ROWS, 5)).clip(-10, 10).astype(np.float32)
    features[:100] = np.nan
    return MarketArrays.from_market(market, features)


def test_the_single_environment_passes_gymnasiums_own_check(arrays: MarketArrays) -> None:
    check_env(TradingEnv(arrays), skip_render_check=True)


def test_it_says_how_lanes_start_anew(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 4)

    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.observation_space.shape == (4, 6)
    assert env.single_action_space.n == 3  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_seed_gives_the_same_bytes(arrays: MarketArrays) -> None:
    def rollout() -> list[bytes]:
        env = TradingVectorEnv(arrays, 16, EpisodeSpec(length=50))
        choices = np.random.default_rng(5)
        seen = [env.reset(seed=9)[0].tobytes()]
        for _ in range(200):
            values = env.step(choices.integers(0, 3, 16))
            seen += [values[0].tobytes(), values[1].tobytes(), values[2].tobytes()]
        return seen

    assert rollout() == rollout()


def test_a_lane_does_not_depend_on_the_others(arrays: MarketArrays) -> None:
    spec = EpisodeSpec(length=40)
    one, many = TradingVectorEnv(arrays, 8, spec), TradingVectorEnv(arrays, 8, spec)
    choices = np.random.default_rng(5).integers(0, 3, (200, 8))
    other = choices.copy()
    other[:, 1:] = FLAT
    first, second = one.reset(seed=3)[0], many.reset(seed=3)[0]

    for mine, theirs in zip(choices, other, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        first, second = one.step(mine)[0], many.step(theirs)[0]


def test_what_is_handed_out_stays_as_it_was(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 4)
    observed, _ = env.reset(seed=1)
    before = observed.copy()

    env.step(np.full(4, LONG))

    np.testing.assert_array_equal(observed, before)


def test_episodes_start_at_random_rows_that_have_features(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 500, EpisodeSpec(length=200))

    env.reset(seed=2)

    assert env.lanes.row.min() >= 100
    assert len(np.unique(env.lanes.row)) > 250
    assert (env.lanes.last_row - env.lanes.row >= 50).all()


def test_an_episode_ends_where_features_end(market: Market) -> None:
    features = np.zeros((ROWS, 2), dtype=np.float32)
    features[1_000] = np.nan
    env = TradingVectorEnv(MarketArrays.from_market(market, features), 300, EpisodeSpec(length=400))
    observed, _ = env.reset(seed=2)

    for _ in range(600):
        assert np.isfinite(observed).all()
        assert (env.lanes.row != 1_000).all()
        observed = env.step(np.full(300, FLAT))[0]


def test_a_lane_that_ended_ignores_its_action_and_starts_anew(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 1, EpisodeSpec(length=10))
    env.reset(seed=4)
    for _ in range(9):
        _, _, terminated, truncated, _ = env.step(np.array([LONG]))
        assert not terminated[0]
        assert not truncated[0]
    _, _, terminated, truncated, _ = env.step(np.array([LONG]))
    ended = bool(terminated[0]), bool(truncated[0])

    observed, reward, terminated, truncated, _ = env.step(np.array([SHORT]))

    assert ended == (False, True)
    assert reward[0] == 0.0
    assert not terminated[0]
    assert not truncated[0]
    assert observed[0, -1] == 0.0
    assert env.equity()[0] == env.episode.cash


def test_ruin_terminates(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 1, EpisodeSpec(length=2_000, ruin_fraction=0.999))
    env.reset(seed=4)
    _, _, terminated, truncated, _ = env.step(np.array([LONG]))
    steps = 1

    while not terminated[0] and steps < 20:
        _, _, terminated, truncated, _ = env.step(np.array([LONG if steps % 2 else SHORT]))
        steps += 1

    assert terminated[0]
    assert not truncated[0]
    assert env.equity()[0] <= 0.999 * env.episode.cash


def test_the_observation_is_the_one_built_everywhere(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 3)
    env.reset(seed=1)

    observed = env.step(np.array([SHORT, FLAT, LONG]))[0]

    expected = observation(arrays.features[env.lanes.row], np.array([-7, 0, 7]))
    assert observed.tobytes() == expected.tobytes()


def test_regression_8_the_reward_counts_position_fees_slippage_and_funding(
    arrays: MarketArrays,
) -> None:
    env = TradingVectorEnv(arrays, 64, EpisodeSpec(length=1_000, reward_scale=1.0))
    env.reset(seed=6)
    choices = np.random.default_rng(3)
    seen = dict.fromkeys(env.terms(), 0.0)

    for _ in range(700):
        before = env.equity()
        _, reward, _, _, _ = env.step(choices.integers(0, 3, 64))
        terms = env.terms()
        alive = reward != 0.0
        np.testing.assert_allclose(reward[alive], np.log(env.equity() / before)[alive], atol=1e-12)
        np.testing.assert_allclose(
            sum(terms.values()), np.where(alive, env.equity() - before, 0.0), atol=1e-7
        )
        assert (terms["fees"] <= 0).all()
        assert (terms["slippage"] <= 0).all()
        for name, values in terms.items():
            seen[name] += float(np.abs(values).sum())

    assert min(seen.values()) > 0.0


def test_regression_8_standing_aside_earns_nothing_and_churning_loses(arrays: MarketArrays) -> None:
    flat = TradingVectorEnv(arrays, 32, EpisodeSpec(length=500))
    churning = TradingVectorEnv(arrays, 32, EpisodeSpec(length=500))
    flat.reset(seed=8)
    churning.reset(seed=8)

    for step in range(400):
        assert not flat.step(np.full(32, FLAT))[1].any()
        churning.step(np.full(32, LONG if step % 2 else SHORT))

    assert (flat.equity() == flat.episode.cash).all()
    assert churning.equity().mean() < 0.8 * churning.episode.cash


@pytest.mark.parametrize("seed", range(4))
def test_the_lanes_money_is_the_twins(market: Market, arrays: MarketArrays, seed: int) -> None:
    env = TradingVectorEnv(arrays, 1, EpisodeSpec(length=2_000, size_quote=7_000.0))
    env.reset(seed=seed)
    choices = np.random.default_rng(seed)
    targets: list[int | None] = [None] * ROWS
    action, steps = FLAT, int(env.lanes.last_row[0] - env.lanes.row[0])
    sums = dict.fromkeys(env.terms(), 0.0)
    for step in range(steps):
        if choices.random() < 0.1:
            action = int(choices.integers(0, 3))
        row = int(env.lanes.row[0])
        env.step(np.array([FLAT if step == steps - 1 else action]))
        targets[row] = int(env.lanes.held_lots[0])
        sums = {name: sums[name] + float(values[0]) for name, values in env.terms().items()}

    twin = replay(market, Plan.of_targets(targets), Decimal(10_000))

    fees = float(sum((fill.fee for fill in twin.fills), Decimal(0)))
    funding = float(sum((payment.amount for payment in twin.funding), Decimal(0)))
    assert len(twin.fills) > 15
    assert math.isclose(-sums["fees"], fees, abs_tol=1e-5)
    assert math.isclose(sums["funding"], funding, abs_tol=1e-6)
    assert abs(float(env.equity()[0]) - float(twin.balance)) <= 0.005


def test_an_action_that_no_level_stands_for_is_refused(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 2)
    env.reset(seed=1)

    for wrong in ([0, 3], [-1, 0], [0]):
        with pytest.raises(BadInput, match="numbers from 0 to 2"):
            env.step(np.array(wrong))


def test_arrays_without_a_usable_stretch_are_refused(arrays: MarketArrays) -> None:
    nothing = replace(arrays, features=np.full_like(arrays.features, np.nan))

    with pytest.raises(BadInput, match="0 of 3000 candles"):
        TradingVectorEnv(nothing, 2)


def test_features_beyond_the_observation_space_are_refused(arrays: MarketArrays) -> None:
    with pytest.raises(BadInput, match="clip them"):
        TradingVectorEnv(replace(arrays, features=arrays.features * 100), 2)


# --- what a lane may be given besides ---------------------------------------------------------


def test_a_continuous_action_is_a_target_rounded_to_lots_as_any_other(arrays: MarketArrays) -> None:
    levels = (-1.0, -0.37, 0.0, 0.62, 1.0)
    discrete = TradingVectorEnv(arrays, 8, EpisodeSpec(levels=levels))
    continuous = TradingVectorEnv(arrays, 8, EpisodeSpec(is_continuous=True))
    choices = np.random.default_rng(4)
    discrete.reset(seed=3)
    continuous.reset(seed=3)

    for _ in range(200):
        chosen = choices.integers(0, len(levels), 8)
        expected = discrete.step(chosen)
        found = continuous.step(np.array(levels)[chosen][:, None])
        for one, other in zip(found[:4], expected[:4], strict=True):
            assert one.tobytes() == other.tobytes()

    assert continuous.single_action_space.shape == (1,)
    for wrong in ([[0.0]] * 7, [[1.1]] * 8, [[math.nan]] * 8, [0.0] * 8):
        with pytest.raises(BadInput, match="actions"):
            continuous.step(np.array(wrong))


@pytest.mark.parametrize(
    "spec",
    [
        EpisodeSpec(is_continuous=True),
        EpisodeSpec(levels=(-1.0, 0.0, 0.5, 1.0), turnover_coefficient=0.1),
        EpisodeSpec(protection=EXITS, leverage=10, drawdown_coefficient=0.1),
    ],
)
def test_every_kind_of_environment_passes_gymnasiums_own_check(
    arrays: MarketArrays, spec: EpisodeSpec
) -> None:
    check_env(TradingEnv(arrays, spec), skip_render_check=True)


def test_turnover_and_drawdown_cost_reward_and_every_term_is_told(arrays: MarketArrays) -> None:
    shaped = EpisodeSpec(
        length=60, turnover_coefficient=0.001, drawdown_coefficient=0.5, reward_scale=100.0
    )
    env, plain = (
        TradingVectorEnv(arrays, 16, spec)
        for spec in (shaped, EpisodeSpec(length=60, reward_scale=100.0))
    )
    choices = np.random.default_rng(4)
    env.reset(seed=3)
    plain.reset(seed=3)
    drawdown, turnover = np.zeros(16), np.zeros(16)
    equity = [env.equity()]

    for _ in range(60):
        chosen = choices.integers(0, 3, 16)
        reward, bare = env.step(chosen)[1], plain.step(chosen)[1]
        terms = env.reward_terms()
        np.testing.assert_allclose(sum(terms.values()), reward, rtol=0, atol=1e-12)
        assert terms["growth"].tobytes() == bare.tobytes()
        drawdown += terms["drawdown"]
        turnover += terms["turnover"]
        equity.append(env.equity())

    curve = np.array(equity)
    deepest = (1.0 - curve / np.maximum.accumulate(curve)).max(axis=0)
    np.testing.assert_allclose(drawdown, -100.0 * 0.5 * deepest, atol=1e-9)
    assert (turnover < 0).all()
    env.step(np.full(16, FLAT))  # every lane starts anew
    assert env.reward_terms()["drawdown"].tolist() == [0.0] * 16


def test_the_single_environment_tells_what_its_reward_is_made_of(arrays: MarketArrays) -> None:
    env = TradingEnv(arrays, EpisodeSpec(turnover_coefficient=0.01))
    env.reset(seed=1)

    _, reward, _, _, info = env.step(np.int64(LONG))

    parts = [info[f"reward_{name}"] for name in ("growth", "turnover", "drawdown")]
    assert math.isclose(sum(parts), reward, abs_tol=1e-12)
    assert parts[1] < 0.0
    assert {"price", "fees", "slippage", "funding", "equity"} < set(info)


def test_lanes_start_anew_as_gymnasiums_own_vector_of_single_ones(market: Market) -> None:
    features = np.zeros((ROWS, 2), dtype=np.float32)
    features[40:] = np.nan
    arrays = MarketArrays.from_market(market, features)
    spec = EpisodeSpec(length=4 * 39)  # one row alone may start an episode
    ours = TradingVectorEnv(arrays, 3, spec)
    theirs = SyncVectorEnv(
        [lambda: TradingEnv(arrays, spec)] * 3, autoreset_mode=AutoresetMode.NEXT_STEP
    )
    first, same = ours.reset(seed=1)[0], theirs.reset(seed=1)[0]
    assert first.tobytes() == same.tobytes()
    choices = np.random.default_rng(1)

    for _ in range(130):
        chosen = choices.integers(0, 3, 3)
        mine, other = ours.step(chosen), theirs.step(chosen)
        for one, two in zip(mine[:4], other[:4], strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_loss_of_the_margin_liquidates_and_terminates(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 64, EpisodeSpec(length=2_000, leverage=100))
    env.reset(seed=2)
    seen = 0

    for _ in range(600):
        before = env.lanes.held_lots.copy()
        _, _, terminated, _, _ = env.step(np.full(64, LONG))
        for lane in np.flatnonzero(terminated):
            seen += 1
            assert before[lane] >= 0
            assert env.lanes.held_lots[lane] == 0
            lost = env.episode.cash - env.equity()[lane]
            # the margin, a hundredth, and what entry and a gap through the level cost
            assert 0.005 < lost / env.episode.size_quote < 0.03

    assert seen > 10


# --- bad input, before the first step ---------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("levels", EpisodeSpec(levels=(0.0, 0.0, 1.0))),
        ("levels", EpisodeSpec(levels=(-1.0, 2.0))),
        ("levels", EpisodeSpec(levels=(-1.0, math.nan))),
        ("levels", EpisodeSpec(levels=(1.0,))),
        ("size_quote", EpisodeSpec(size_quote=1.0)),
        ("size_quote", EpisodeSpec(size_quote=20.0, levels=(-0.05, 0.0, 1.0))),
        ("size_quote", EpisodeSpec(size_quote=math.inf)),
        ("cash", EpisodeSpec(cash=0.0)),
        ("length", EpisodeSpec(length=0)),
        ("turnover_coefficient", EpisodeSpec(turnover_coefficient=-1.0)),
        ("drawdown_coefficient", EpisodeSpec(drawdown_coefficient=math.nan)),
        ("leverage", EpisodeSpec(leverage=0)),
        (
            "stop_loss_fraction",
            EpisodeSpec(protection=replace(EXITS, stop_loss_fraction=Decimal(1))),
        ),
        (
            "take_profit_fraction",
            EpisodeSpec(protection=replace(EXITS, take_profit_fraction=Decimal("1e-9"))),
        ),
    ],
)
def test_a_number_with_which_no_step_could_be_taken_is_refused_by_name(
    arrays: MarketArrays, field: str, spec: EpisodeSpec
) -> None:
    with pytest.raises(BadInput, match=f"^{field}: "):
        TradingVectorEnv(arrays, 2, spec)


def test_features_that_are_not_finite_are_refused(arrays: MarketArrays) -> None:
    for row, value, message in ((200, np.inf, "infinite in row 200"), (200, np.nan, "part of row")):
        features = arrays.features.copy()
        features[row, 1] = value
        with pytest.raises(BadInput, match=f"^features: .*{message}"):
            TradingVectorEnv(replace(arrays, features=features), 2)

    warming_up = arrays.features.copy()
    warming_up[50:100, 0] = 0.0
    TradingVectorEnv(replace(arrays, features=warming_up), 2)


def test_unsorted_candles_and_features_across_a_hole_are_refused(arrays: MarketArrays) -> None:
    backwards, holed = arrays.open_ms.copy(), arrays.open_ms.copy()
    backwards[[500, 501]] = backwards[[501, 500]]
    holed[500:] += 60_000

    with pytest.raises(BadInput, match=r"^candles: .*sort them"):
        TradingVectorEnv(replace(arrays, open_ms=backwards), 2)
    with pytest.raises(BadInput, match=rf"^candles: after {arrays.open_ms[499]} .*hole"):
        TradingVectorEnv(replace(arrays, open_ms=holed), 2)

    apart = arrays.features.copy()
    apart[500] = np.nan
    TradingVectorEnv(replace(arrays, open_ms=holed, features=apart), 2)


def test_a_pickled_environment_goes_on_as_it_was(arrays: MarketArrays) -> None:
    env = TradingVectorEnv(arrays, 8, EpisodeSpec(protection=EXITS))
    env.reset(seed=1)
    env.step(np.full(8, LONG))

    other = pickle.loads(pickle.dumps(env))

    for action in (SHORT, LONG, FLAT):
        for one, two in zip(
            env.step(np.full(8, action))[:4], other.step(np.full(8, action))[:4], strict=True
        ):
            assert one.tobytes() == two.tobytes()
