"""What the control plane can do to a market: prices, candles, the contract's state."""

from decimal import Decimal
from typing import Any

from bingx_sim.clock import MINUTE_MS
from bingx_sim.errors import BadOption
from bingx_sim.exchange import ContractState
from bingx_sim.market import PairMarket
from bingx_sim.simulator import Simulator

type Fields = dict[str, Any]

KNOWN = frozenset({"pair", "price", "shock", "candle", "contract"})
PRICES = ("open", "high", "low", "close")


def change_market(simulator: Simulator, body: Fields) -> Fields:
    """Move the price of a `pair` (all pairs without one), edit a candle, or halt trading.

    `price` moves the price there now, `shock` multiplies it; both last. `candle` {open_ms, and
    either missing: true or any of open, high, low, close, volume} changes the record, not what was
    traded. `contract` sets fields of its state: status 25 or 0, open_allowed, close_allowed,
    maintain_ms, min_quantity, min_notional.
    """
    unknown = sorted(set(body) - KNOWN)
    if unknown:
        raise BadOption(f"unknown fields {unknown}; known are {sorted(KNOWN)}")
    now_ms = simulator.catch_up()
    exchange = simulator.exchange
    pairs = [str(body["pair"])] if "pair" in body else list(exchange.markets)
    for pair in pairs:
        market = exchange.market(pair)
        if "price" in body:
            target = Decimal(str(body["price"])) / market.contract.tick
            market.shock(now_ms, float(target) / market.ticks_at(now_ms))
        if "shock" in body:
            market.shock(now_ms, float(body["shock"]))
        if "candle" in body:
            _edit(market, body["candle"])
        if "contract" in body:
            _set_state(exchange.states[pair], body["contract"])
    simulator.catch_up()
    return {"prices": {pair: str(exchange.mark(pair, now_ms)) for pair in pairs}}


def _edit(market: PairMarket, change: Fields) -> None:
    open_ms = int(change["open_ms"])
    if open_ms % MINUTE_MS:
        raise BadOption(f"open_ms is {open_ms}; a candle opens on a whole minute")
    minute = open_ms // MINUTE_MS
    if change.get("missing"):
        market.edit(minute, None)
        return
    day, inside = divmod(minute, 1440)
    row = [int(value) for value in market.minutes(day)[0][inside]]
    for index, name in enumerate(PRICES):
        if name in change:
            row[index] = market.contract.ticks(Decimal(str(change[name])))
    if "volume" in change:
        row[4] = int(Decimal(str(change["volume"])) / market.contract.step)
    market.edit(minute, (row[0], row[1], row[2], row[3], row[4]))


def _set_state(state: ContractState, change: Fields) -> None:
    for name, value in change.items():
        if name in {"min_quantity", "min_notional"}:
            setattr(state, name, None if value is None else Decimal(str(value)))
        elif name in {"status", "maintain_ms"}:
            setattr(state, name, int(value))
        elif name in {"open_allowed", "close_allowed"}:
            setattr(state, name, bool(value))
        else:
            raise BadOption(f"a contract state has no field {name}")
