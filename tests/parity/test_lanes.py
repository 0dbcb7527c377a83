"""The environment's lanes with exits and leverage are the decimal ledger, candle for candle."""

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from desk.evaluation.cases import INSTRUMENT, Case
from desk.evaluation.fast import CAUSES, run_policy
from desk.evaluation.plan import Plan, planned_orders, replay
from desk.learning import kernel_exits
from desk.learning.arrays import MarketArrays
from desk.learning.env import TradingVectorEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.observation import Observation
from desk.trading.exit_levels import AVERAGE_STEPS, average_after
from desk.trading.fills import (
    NEVER_TICKS,
    Book,
    FillCause,
    FundingPayment,
    LotFill,
    advance,
    liquidation_ticks,
)
from desk.trading.intents import Protection, exit_prices, target_lots
from desk.trading.orders import Side
from desk.trading.tape import Market
from tests.parity.engines import assert_kernel_agrees, assert_nautilus_agrees
from tests.parity.walks import cases

calm = settings(suppress_health_check=[HealthCheck.too_slow])
LEVELS = (-1.0, -0.4, 0.0, 0.4, 1.0)
FLAT = LEVELS.index(0.0)
SIZE = 0.1
"""USDT: about ten lots."""
CASH = 100.0

FRACTIONS = st.sampled_from([None, *(Decimal(n) / 10_000 for n in (5, 10, 15, 25, 40))])
SPECS = st.builds(
    lambda stop, take, leverage: EpisodeSpec(
        cash=CASH,
        size_quote=SIZE,
        levels=LEVELS,
        protection=Protection(stop_loss_fraction=stop, take_profit_fraction=take),
        leverage=leverage,
    ),
    FRACTIONS,
    FRACTIONS,
    st.sampled_from([None, 1, 20, 110, 130, 150]),  # 1,000 ticks · (1/150 - 0.55 %): one tick
)


@dataclass
class Ledger:
    """The decimal rules, fed with targets as an agent's decisions are."""

    market: Market
    spec: EpisodeSpec
    book: Book
    plan: Plan
    average: int = 0
    paid: int = 0

    @classmethod
    def of(cls, market: Market, spec: EpisodeSpec) -> "Ledger":
        plan = Plan.of_targets([None] * len(market.tape))
        return cls(market, spec, Book(cash=Decimal(str(spec.cash))), plan)

    def decide(self, row: int, target: float) -> None:
        close, held = int(self.market.tape.close[row]), self.book.lots
        wanted = target_lots(
            target, size_quote=SIZE, price_ticks=close, held_lots=held, instrument=INSTRUMENT
        )
        self.plan.decided[row], self.plan.target_lots[row] = True, wanted
        if wanted in {0, held}:
            return
        side = Side.of(wanted)
        stop, take = exit_prices(side, INSTRUMENT.price_of(close), self.spec.protection, INSTRUMENT)
        levels = [0 if price is None else INSTRUMENT.to_ticks(price) for price in (stop, take)]
        if self.spec.leverage is not None:
            projected = average_after(self.average, held, wanted - held, close)
            level = liquidation_ticks(
                projected * INSTRUMENT.tick / AVERAGE_STEPS,
                wanted,
                self.spec.leverage,
                self.market.spec,
                INSTRUMENT,
            )
            is_nearer = levels[0] == 0 or (level - levels[0]) * side.sign > 0
            if level and is_nearer:
                levels[0], self.plan.is_liquidation[row] = level, True
        self.plan.stop_ticks[row], self.plan.take_ticks[row] = levels

    def settle(self, row: int) -> tuple[list[LotFill], list[FundingPayment]]:
        """Candle `row`, with what was decided on the one before."""
        tape = self.market.tape
        [candle] = islice(tape.rows(), row, row + 1)
        due = self.paid
        while self.paid < len(self.market.dues) and (
            self.market.dues[self.paid].due_ms < tape.close_ms[row]
        ):
            self.paid += 1
        orders = planned_orders(self.plan, row - 1, self.book.lots) if row else []
        exits = self.plan.exits(row - 1) if row else None
        held = self.book.lots
        self.book, fills, funding = advance(
            self.book,
            orders,
            candle,
            self.market.dues[due : self.paid],
            spec=self.market.spec,
            instrument=INSTRUMENT,
            exits=exits,
        )
        for fill in fills:
            self.average = average_after(self.average, held, fill.lots, fill.price_ticks)
            held += fill.lots
        return fills, funding


@settings(calm, max_examples=250)
@given(cases(has_holes=False), SPECS, st.integers(0, 2**32 - 1))
def test_a_lane_of_random_actions_is_the_ledger_and_its_plan_the_kernels(
    case: Case, spec: EpisodeSpec, seed: int
) -> None:
    market = case.market
    rows, choices = len(market.tape), np.random.default_rng(seed)
    whole = replace(spec, length=4 * (rows - 1))  # so that no later row may start an episode
    env = TradingVectorEnv(arrays_of(market), 1, whole)
    env.reset(seed=1)
    assert env.lanes.row[0] == 0
    ledger = Ledger.of(market, spec)
    ledger.settle(0)
    action, ended = 0, False

    for row in range(rows - 1):
        action = int(choices.integers(0, len(LEVELS))) if choices.random() < 0.6 else action
        action = FLAT if row == rows - 2 else action
        ledger.decide(row, LEVELS[action])
        _, _, terminated, truncated, _ = env.step(np.array([action]))
        fills, funding = ledger.settle(row + 1)

        if env.exits:
            assert fills_of(env, market, row + 1) == [
                (f.filled_ms, f.lots, f.price_ticks, f.cause, f.is_maker) for f in fills
            ]
        assert env.lanes.held_lots[0] == ledger.book.lots
        if env.exits and ledger.book.exits is not None:
            resting, found = ledger.book.exits, env.exits.books[0]
            assert int(found[kernel_exits.STOP]) == max(resting.stop_ticks, 0) % NEVER_TICKS
            assert int(found[kernel_exits.TAKE]) == (resting.take_ticks or 0)
            assert int(found[kernel_exits.AVERAGE]) == ledger.average
        twin = ledger.book.equity(int(market.tape.close[row + 1]), INSTRUMENT)
        assert abs(float(env.equity()[0]) - float(twin)) <= 0.005
        terms = {name: float(values[0]) for name, values in env.terms().items()}
        assert np.isclose(terms["fees"], -float(sum(f.fee for f in fills)), rtol=0, atol=4e-8)
        assert np.isclose(
            terms["funding"], float(sum(p.amount for p in funding)), rtol=0, atol=1e-6
        )
        is_liquidated = any(fill.cause is FillCause.LIQUIDATION for fill in fills)
        assert bool(terminated[0]) == is_liquidated
        assert bool(truncated[0]) == (row == rows - 2 and not is_liquidated)
        if ended := bool(terminated[0]):
            break

    if not ended:
        assert_kernel_agrees(Case(market=market, plan=ledger.plan))
        twin = replay(market, ledger.plan, Decimal(str(CASH)))
        assert twin.balance == ledger.book.cash


@settings(calm, max_examples=60)
@given(cases(), SPECS, st.integers(0, 2**32 - 1))
def test_the_fast_evaluator_records_a_plan_that_every_engine_agrees_with(
    case: Case, spec: EpisodeSpec, seed: int
) -> None:
    market = case.market
    table = np.random.default_rng(seed).normal(0, 1, (len(market.tape), 3, len(LEVELS)))

    def forward(observed: Observation) -> NDArray[np.float32]:
        rows, signs = observed[:, 0].astype(int), observed[:, -1].astype(int)
        return table[rows, signs + 1].astype(np.float32)

    features = np.arange(len(market.tape), dtype=np.float32)[:, None]
    run = run_policy(
        MarketArrays.from_market(market, features),
        forward,
        levels=LEVELS,
        threshold=0.3,
        size_quote=SIZE,
        cash=CASH,
        protection=spec.protection,
        leverage=spec.leverage,
    )

    twin = replay(market, run.plan, Decimal(str(CASH)))
    assert abs(run.balance - float(twin.balance)) <= 0.005
    assert_kernel_agrees(Case(market=market, plan=run.plan))
    assert_nautilus_agrees(Case(market=market, plan=run.plan))
    ledger = Ledger.of(market, spec)
    for row in range(len(market.tape)):
        ledger.settle(row)
        assert abs(run.equity[row] - float(equity_of(ledger, row))) <= 0.005
        if run.plan.decided[row]:
            ledger.decide(row, level_of(run.plan, row, market))
            for name in ("target_lots", "stop_ticks", "take_ticks"):
                assert getattr(ledger.plan, name)[row] == getattr(run.plan, name)[row]


def equity_of(ledger: Ledger, row: int) -> Decimal:
    return ledger.book.equity(int(ledger.market.tape.close[row]), INSTRUMENT)


def level_of(plan: Plan, row: int, market: Market) -> float:
    """A target that means exactly the plan's lots."""
    lots = int(plan.target_lots[row])
    quote_per_lot = float(market.tape.close[row]) * float(INSTRUMENT.tick * INSTRUMENT.lot)
    return float(np.sign(lots)) * (abs(lots) + 0.5) * quote_per_lot / SIZE if lots else 0.0


def arrays_of(market: Market) -> MarketArrays:
    return MarketArrays.from_market(market, np.zeros((len(market.tape), 1), dtype=np.float32))


type SeenFill = tuple[int, int, int, FillCause, bool]


def fills_of(env: TradingVectorEnv, market: Market, row: int) -> list[SeenFill]:
    """What the lane executed in its last step; only a settled one writes fills down."""
    if not env.lanes.traded[0]:
        return []
    assert env.exits is not None
    desk, tape = env.exits.desk, market.tape
    return [
        (
            int(tape.close_ms[row] if fill[kernel_exits.IS_PATH] else tape.open_ms[row] + 1_000),
            int(fill[kernel_exits.LOTS]),
            int(fill[kernel_exits.PRICE]),
            CAUSES[int(fill[kernel_exits.CAUSE])],
            bool(fill[kernel_exits.IS_MAKER]),
        )
        for fill in desk.fills[: desk.fill_count[0]]
    ]
