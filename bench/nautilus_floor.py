"""NautilusTrader given the same data items and the same orders, ready made: what its engine alone takes."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TraderId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from desk.evaluation.plan import Plan, Replay
from desk.trading.intents import legs
from desk.trading.tape import Market

MS = 1_000_000
TICK, LOT = Decimal("0.1"), Decimal("0.0001")


class Wanted(NamedTuple):
    """Orders of one candle in the engine's own types."""

    market: list[tuple[Any, Any, bool]]
    stop: tuple[Any, Any, Any] | None
    take: tuple[Any, Any, Any] | None


def orders_of(market: Market, plan: Plan, ledger: Replay) -> list[Wanted | None]:
    """What is sent on each close, worked out beforehand from a replay of the same plan."""
    held_at = _held(market, ledger)
    found: list[Wanted | None] = [None] * len(plan)
    for row in np.flatnonzero(plan.decided[:-1]).tolist():
        held, target = held_at[row], int(plan.target_lots[row])
        if held == target:
            continue
        exits, leaving = plan.exits(row), (_side(-target), _quantity(target))
        found[row] = Wanted(
            market=[(_side(lots), _quantity(lots), reduce) for lots, reduce in legs(held, target)],
            stop=(*leaving, _price(exits.stop_ticks)) if exits else None,
            take=(*leaving, _price(exits.take_ticks)) if exits and exits.take_ticks else None,
        )
    return found


def run(market: Market, wanted: Sequence[Wanted | None], cash: Decimal) -> int:
    """Run the bare engine; returns the number of fills."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            trader_id=TraderId("FLOOR-001"),
            run_analysis=False,
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(bypass=True),
        )
    )
    engine.portfolio.analyzer.record_trade = lambda *_, **__: None
    venue = Venue("BINGX")
    engine.add_venue(
        venue=venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(cash, USDT)],
        default_leverage=Decimal(10),
        latency_model=LatencyModel(base_latency_nanos=250 * MS),
        bar_adaptive_high_low_ordering=True,
        reject_stop_orders=False,
    )
    perpetual = _perpetual(venue)
    engine.add_instrument(perpetual)
    bar_type = BarType.from_str(f"{perpetual.id}-1-MINUTE-LAST-EXTERNAL")
    bars, quotes = _data(market, perpetual.id, bar_type)
    engine.add_data(bars, sort=False)
    engine.add_data(quotes, sort=False)
    engine.sort_data()
    strategy = _Send(perpetual.id, bar_type, wanted)
    engine.add_strategy(strategy)
    engine.run()
    engine.dispose()
    return strategy.fills


class _Send(Strategy):
    def __init__(self, instrument_id: Any, bar_type: Any, wanted: Sequence[Wanted | None]) -> None:
        super().__init__()
        self._id, self._bar_type, self._wanted, self._row = instrument_id, bar_type, wanted, -1
        self.fills = 0

    def on_start(self) -> None:
        self.subscribe_bars(self._bar_type)

    def on_bar(self, bar: Any) -> None:
        self._row += 1
        wanted = self._wanted[self._row]
        if wanted is None:
            return
        for resting in self.cache.orders_open(instrument_id=self._id):
            self.cancel_order(resting)
        make = self.order_factory
        for side, quantity, reduce in wanted.market:
            self.submit_order(make.market(self._id, side, quantity, reduce_only=reduce))
        if wanted.stop is not None:
            side, quantity, price = wanted.stop
            self.submit_order(
                make.stop_market(self._id, side, quantity, trigger_price=price, reduce_only=True)
            )
        if wanted.take is not None:
            side, quantity, price = wanted.take
            self.submit_order(make.limit(self._id, side, quantity, price=price, reduce_only=True))

    def on_order_filled(self, event: Any) -> None:
        self.fills += 1


def _data(market: Market, instrument_id: Any, bar_type: Any) -> tuple[list[Any], list[Any]]:
    tape = market.tape
    closes_ns = (tape.close_ms * MS).astype(np.uint64)
    ohlc = [np.round(column * 0.1, 1) for column in (tape.open, tape.high, tape.low, tape.close)]
    volume = np.full(len(tape), 1e6)
    bars = Bar.from_raw_arrays_to_list(bar_type, 1, 4, *ohlc, volume, closes_ns, closes_ns)
    depth = Quantity(1e6, 4)
    quotes = [
        QuoteTick(instrument_id, _price(bid), _price(ask), depth, depth, at_ns, at_ns)
        for bid, ask, at_ns in zip(
            tape.bid[1:].tolist(),
            tape.ask[1:].tolist(),
            ((tape.open_ms[1:] + 1_000) * MS).tolist(),
            strict=True,
        )
    ]
    return bars, quotes


def _held(market: Market, ledger: Replay) -> list[int]:
    """Signed lots at each candle's close."""
    filled_ms = [fill.filled_ms for fill in ledger.fills]
    held = np.cumsum([0, *(fill.lots for fill in ledger.fills)])
    return held[np.searchsorted(filled_ms, market.tape.close_ms, side="right")].tolist()


def _perpetual(venue: Any) -> Any:
    symbol = Symbol("BTC-USDT")
    return CryptoPerpetual(
        instrument_id=InstrumentId(symbol, venue),
        raw_symbol=symbol,
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=1,
        size_precision=4,
        price_increment=_price(1),
        size_increment=_quantity(1),
        margin_init=Decimal(1),
        margin_maint=Decimal("0.005"),
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0005"),
        ts_event=0,
        ts_init=0,
    )


def _price(ticks: int) -> Any:
    return Price(ticks * TICK, 1)


def _quantity(lots: int) -> Any:
    return Quantity(abs(lots) * LOT, 4)


def _side(lots: int) -> Any:
    return OrderSide.BUY if lots > 0 else OrderSide.SELL
