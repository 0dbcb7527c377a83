"""The witness: an exchange simulation that we did not write replays a plan of ours.

Everything of nautilus_trader stays inside this module; arrays go in, plain values come out.
Decisions on candle i reach the market with 250 ms of latency and meet a quote one second after the
open of candle i+1; after it the candle's own path is walked as a bar stamped at its close.
"""

# The engine's compiled modules carry no type information, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeArgument=false, reportUntypedBaseClass=false

from decimal import Decimal
from typing import Any, NamedTuple

import nautilus_trader
import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig, SimulationModuleConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FeeModel, LatencyModel
from nautilus_trader.backtest.modules import SimulationModule
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.enums import AccountType, LiquiditySide, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TraderId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from desk.errors import EvaluationFailed
from desk.evaluation.plan import Plan, Replay
from desk.market.candles import Ints
from desk.market.interval import Interval
from desk.trading.fills import (
    NEVER_TICKS,
    QUOTE_DELAY_MS,
    ZERO,
    Due,
    FillCause,
    FillSpec,
    FundingPayment,
    LotFill,
    PathOrder,
    commission,
    funding_amount,
)
from desk.trading.instruments import Instrument
from desk.trading.intents import legs
from desk.trading.tape import Market, Tape

ENGINE = f"nautilus_trader {nautilus_trader.__version__}"

_VENUE = Venue("BINGX")
_MS = 1_000_000
"""Nanoseconds."""
_LATENCY_NS = 250 * _MS
_NEVER_NS = 1 << 63
_OVERFLOW = 900
"""Distances from the open of this many price units and more overflow inside the engine."""
_DEPTH_LEAST = 10**6
_STOP, _LIQUIDATION, _TAKE = "SL", "LIQ", "TP"
_CAUSES = {
    _STOP: FillCause.STOP,
    _LIQUIDATION: FillCause.LIQUIDATION,
    _TAKE: FillCause.TAKE_PROFIT,
}


def evaluate(market: Market, plan: Plan, cash: Decimal) -> Replay:
    """Replay a plan. Raises `EvaluationFailed`: no other number may take the place of this one."""
    if len(plan) != len(market.tape):
        raise EvaluationFailed(f"the plan had {len(plan)} rows for {len(market.tape)} candles")
    engine = BacktestEngine(_engine_config())
    try:
        return _run(engine, market, plan, cash)
    except EvaluationFailed:
        raise
    except Exception as wrong:
        raise EvaluationFailed(f"{ENGINE} failed: {wrong!r}") from wrong
    finally:
        engine.dispose()


class _Units(NamedTuple):
    """The instrument in the engine's units: prices divided by `factor`, quantities multiplied."""

    tick: Decimal
    lot: Decimal
    price_decimals: int
    size_decimals: int

    @classmethod
    def of(cls, tape: Tape, instrument: Instrument) -> "_Units":
        reach = int(max((tape.high - tape.open).max(), (tape.open - tape.low).max()))
        factor = 1
        while reach * instrument.tick / factor >= _OVERFLOW:
            factor *= 100
        tick, lot = instrument.tick / factor, instrument.lot * factor
        return cls(tick, lot, _decimals(tick), _decimals(lot))

    def price(self, ticks: int) -> Any:
        return Price(ticks * self.tick, self.price_decimals)

    def quantity(self, lots: int) -> Any:
        return Quantity(lots * self.lot, self.size_decimals)

    def prices(self, ticks: Ints) -> Any:
        """Contiguous, writable floats: the engine refuses the read-only arrays of shared memory."""
        rounded = np.round(ticks * float(self.tick), self.price_decimals)
        return np.require(rounded, requirements=["C", "W"])


class _Fees(FeeModel):
    """Commission by our own rounding; maker only for a resting take-profit that was never trimmed."""

    def __init__(self, spec: FillSpec) -> None:
        super().__init__()
        self._spec = spec

    def get_commission(self, order: Any, fill_qty: Any, fill_px: Any, instrument: Any) -> Any:
        quantity, price = fill_qty.as_decimal(), fill_px.as_decimal()
        return Money(commission(quantity, price, self._rate(order)), USDT)

    def _rate(self, order: Any) -> Decimal:
        if _is_maker(order):
            return self._spec.maker_rate
        liquidated = _LIQUIDATION in (order.tags or ())
        return self._spec.liquidation_rate if liquidated else self._spec.taker_rate


class _FundingConfig(SimulationModuleConfig, frozen=True):
    pass


class _Funding(SimulationModule):
    """Settles a boundary at the first event stamped strictly after it."""

    def __init__(
        self, instrument_id: Any, dues: tuple[Due, ...], units: _Units, instrument: Instrument
    ) -> None:
        super().__init__(_FundingConfig())
        self._id, self._dues, self._units, self._ours = instrument_id, dues, units, instrument
        self.reset()

    def pre_process(self, data: Any) -> None:
        """Called before an item moves the market."""
        while data.ts_init > self._next_ns:
            due = self._dues[self._next]
            self._turn_to(self._next + 1)
            self._settle(due)

    def _turn_to(self, number: int) -> None:
        is_there = number < len(self._dues)
        self._next_ns = self._dues[number].due_ms * _MS if is_there else _NEVER_NS
        self._next = number

    def _settle(self, due: Due) -> None:
        lots = _held(self.exchange.cache, self._id, self._units)
        if not lots or due.rate is None:
            return
        amount = funding_amount(lots, due.mark_ticks, due.rate, self._ours)
        self.exchange.adjust_account(Money(amount, USDT))
        self.paid.append(
            FundingPayment(
                due_ms=due.due_ms,
                lots=lots,
                mark_ticks=due.mark_ticks,
                rate=due.rate,
                amount=amount,
            )
        )

    def process(self, ts_now: int) -> None:
        pass

    def log_diagnostics(self, logger: Any) -> None:
        pass

    def reset(self) -> None:
        self._turn_to(0)
        self.paid = list[FundingPayment]()


class _Replay(Strategy):
    """Sends what the plan decided on each candle's close and remembers what filled."""

    def __init__(self, perpetual: Any, bar_type: Any, plan: Plan, units: _Units) -> None:
        super().__init__()
        self._perpetual, self._bar_type, self._units = perpetual, bar_type, units
        self._plan, self._index = plan, -1
        # Lists: taking one number out of an array is slower than the rest of a quiet candle.
        self._decided, self._last = plan.decided.tolist(), len(plan) - 1
        self.events: list[Any] = []
        self.problems: list[str] = []

    @property
    def bars_seen(self) -> int:
        return self._index + 1

    def on_start(self) -> None:
        self.subscribe_bars(self._bar_type)

    def on_bar(self, bar: Any) -> None:
        self._index += 1
        index = self._index
        if not self._decided[index] or index == self._last:
            return
        target = int(self._plan.target_lots[index])
        held = _held(self.cache, self._perpetual.id, self._units)
        if target == held:
            return
        for resting in self.cache.orders_open(instrument_id=self._perpetual.id):
            self.cancel_order(resting)
        for lots, is_reducing in legs(held, target):
            self.submit_order(
                self.order_factory.market(
                    self._perpetual.id, *self._sided(lots), reduce_only=is_reducing
                )
            )
        self._protect(index)

    def on_order_filled(self, event: Any) -> None:
        self.events.append(event)

    def on_order_rejected(self, event: Any) -> None:
        if "REDUCE_ONLY" not in event.reason:  # a leg or exit with nothing left to reduce
            self.problems.append(event.reason)

    def on_order_denied(self, event: Any) -> None:
        self.problems.append(event.reason)

    def _protect(self, index: int) -> None:
        exits = self._plan.exits(index)
        if exits is None:
            return
        leaving = self._sided(-exits.target_lots)
        if 0 < exits.stop_ticks < NEVER_TICKS:
            self.submit_order(
                self.order_factory.stop_market(
                    self._perpetual.id,
                    *leaving,
                    trigger_price=self._units.price(exits.stop_ticks),
                    reduce_only=True,
                    tags=[_LIQUIDATION if exits.is_liquidation else _STOP],
                )
            )
        if exits.take_ticks is not None:
            self.submit_order(
                self.order_factory.limit(
                    self._perpetual.id,
                    *leaving,
                    price=self._units.price(exits.take_ticks),
                    reduce_only=True,
                    tags=[_TAKE],
                )
            )

    def _sided(self, lots: int) -> tuple[Any, Any]:
        side = OrderSide.BUY if lots > 0 else OrderSide.SELL
        return side, self._units.quantity(abs(lots))


def _engine_config() -> BacktestEngineConfig:
    return BacktestEngineConfig(
        trader_id=TraderId("EVAL-001"),
        run_analysis=False,
        logging=LoggingConfig(bypass_logging=True),
        risk_engine=RiskEngineConfig(bypass=True),
    )


def _run(engine: Any, market: Market, plan: Plan, cash: Decimal) -> Replay:
    units = _Units.of(market.tape, market.instrument)
    perpetual = _perpetual(market, units)
    funding = _Funding(perpetual.id, market.dues, units, market.instrument)
    # The analyzer's own bookkeeping is quadratic in closed trades, and nothing of it is used.
    engine.portfolio.analyzer.record_trade = _ignore
    engine.add_venue(
        venue=_VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money.from_str(f"{cash} USDT")],
        default_leverage=Decimal(10),
        modules=[funding],
        fee_model=_Fees(market.spec),
        latency_model=LatencyModel(base_latency_nanos=_LATENCY_NS),
        bar_adaptive_high_low_ordering=market.spec.path is PathOrder.ADAPTIVE,
        reject_stop_orders=False,
    )
    engine.add_instrument(perpetual)
    bar_type = BarType.from_str(f"{perpetual.id}-{_bar_length(market.spec.interval)}-LAST-EXTERNAL")
    _add_data(engine, market.tape, perpetual, bar_type, units, depth=_depth(plan, units))
    strategy = _Replay(perpetual, bar_type, plan, units)
    engine.add_strategy(strategy)
    engine.run()
    if strategy.bars_seen != len(plan) or strategy.problems:
        raise EvaluationFailed(
            f"{ENGINE} saw {strategy.bars_seen} of {len(plan)} candles; {strategy.problems[:3]}"
        )
    account = engine.cache.account_for_venue(_VENUE)
    return Replay(
        fills=tuple(_fill(event, engine.cache, units) for event in strategy.events),
        funding=tuple(funding.paid),
        balance=account.balance_total(USDT).as_decimal(),
    )


def _perpetual(market: Market, units: _Units) -> Any:
    symbol = Symbol(market.instrument.pair)
    return CryptoPerpetual(
        instrument_id=InstrumentId(symbol, _VENUE),
        raw_symbol=symbol,
        base_currency=BTC,  # a name without a part in any number of a linear contract
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=units.price_decimals,
        size_precision=units.size_decimals,
        price_increment=units.price(1),
        size_increment=units.quantity(1),
        margin_init=Decimal(1),
        margin_maint=market.spec.maintenance_rate,
        maker_fee=market.spec.maker_rate,
        taker_fee=market.spec.taker_rate,
        ts_event=0,
        ts_init=0,
    )


def _add_data(
    engine: Any, tape: Tape, perpetual: Any, bar_type: Any, units: _Units, *, depth: int
) -> None:
    closes_ns = np.require((tape.close_ms * _MS).astype(np.uint64), requirements=["C", "W"])
    ohlc = [units.prices(column) for column in (tape.open, tape.high, tape.low, tape.close)]
    volume = np.full(len(tape), float(depth))
    bars = Bar.from_raw_arrays_to_list(
        bar_type,
        units.price_decimals,
        units.size_decimals,
        *ohlc,
        volume,
        closes_ns,
        closes_ns,
    )
    size = Quantity(depth, units.size_decimals)
    stamps = ((tape.open_ms[1:] + QUOTE_DELAY_MS) * _MS).tolist()
    quotes = [
        QuoteTick(perpetual.id, units.price(bid), units.price(ask), size, size, at_ns, at_ns)
        for bid, ask, at_ns in zip(
            tape.bid[1:].tolist(), tape.ask[1:].tolist(), stamps, strict=True
        )
    ]
    engine.add_data(bars, sort=False)
    engine.add_data(quotes, sort=False)
    engine.sort_data()


def _depth(plan: Plan, units: _Units) -> int:
    """Market depth that no order of the plan exhausts: a bar shows a quarter of it at each price."""
    largest = int(np.abs(plan.target_lots).max(initial=0)) * units.lot
    return max(_DEPTH_LEAST, int(largest) * 16)


def _fill(event: Any, cache: Any, units: _Units) -> LotFill:
    order = cache.order(event.client_order_id)
    sign = 1 if event.order_side == OrderSide.BUY else -1
    tags = order.tags or [""]
    return LotFill(
        order_id="" if tags[0] in _CAUSES else str(event.client_order_id),
        cause=_CAUSES.get(tags[0], FillCause.ORDER),
        lots=sign * int(event.last_qty.as_decimal() / units.lot),
        price_ticks=int(event.last_px.as_decimal() / units.tick),
        fee=event.commission.as_decimal(),
        realized_pnl=ZERO,
        is_maker=_is_maker(order),
        filled_ms=event.ts_event // _MS,
    )


def _is_maker(order: Any) -> bool:
    untrimmed = order.quantity == order.init_event.quantity
    return order.liquidity_side == LiquiditySide.MAKER and untrimmed


def _held(cache: Any, instrument_id: Any, units: _Units) -> int:
    """Signed lots."""
    quantity = sum(
        (p.signed_decimal_qty() for p in cache.positions_open(instrument_id=instrument_id)), ZERO
    )
    return int(quantity / units.lot)


def _bar_length(interval: Interval) -> str:
    names = {"m": "MINUTE", "h": "HOUR", "d": "DAY"}
    return f"{interval[:-1]}-{names[interval[-1]]}"


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _ignore(*_: Any, **__: Any) -> None:
    pass
