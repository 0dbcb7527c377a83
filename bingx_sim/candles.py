"""The candle endpoints: pages of any interval, newest first, the forming candle included."""

from decimal import Decimal
from typing import Any

from bingx_sim.clock import DAY_MS
from bingx_sim.errors import bad_parameter
from bingx_sim.exchange import Call, Exchange
from bingx_sim.intervals import LONGER, MINUTES
from bingx_sim.rows import Row, bar_row, four

MAX_CANDLES = 1_440
DEFAULT_CANDLES = 500


def klines(exchange: Exchange, call: Call) -> list[Any]:
    rows, interval = _candles(exchange, call)
    if exchange.habits.kline_rows == "array":
        return [_as_array(row, interval) for row in rows]
    return rows


def _candles(exchange: Exchange, call: Call) -> tuple[list[Row], str]:
    """The candles a call asks for, newest first, and their interval."""
    market = exchange.market(call.text("symbol"))
    interval = call.text("interval")
    if interval not in MINUTES and interval not in LONGER:
        text = f"Invalid parameters, err:interval: {interval or 'missing'} is not supported"
        raise bad_parameter(text)
    limit = min(call.whole("limit", DEFAULT_CANDLES), MAX_CANDLES)
    if limit <= 0:
        raise bad_parameter("Invalid parameters, err:limit: must be above 0")
    horizon_ms = _horizon_ms(exchange, interval, call.now_ms)
    start_ms = max(call.moment("startTime", 0), horizon_ms)
    end_ms = call.moment("endTime", call.now_ms)
    if exchange.habits.kline_mode == "first" and call.text("startTime"):
        end_ms = min(end_ms, _page_end(interval, start_ms, limit))
    bars = market.bars(interval, start_ms=start_ms, end_ms=end_ms, limit=limit, now_ms=call.now_ms)
    return [bar_row(market.contract, bar) for bar in bars], interval


def mark_klines(exchange: Exchange, call: Call) -> list[Row]:
    """Candles of the mark price: no volume, and another spelling of the time."""
    rows: list[Row] = []
    for row in _candles(exchange, call)[0]:
        shown = {name: row[name] for name in ("open", "close", "high", "low")}
        rows.append({**shown, "volume": "0.00", "openTime": row["time"], "closeTime": row["time"]})
    return rows


def _horizon_ms(exchange: Exchange, interval: str, now_ms: int) -> int:
    days = exchange.habits.minute_horizon_days
    return now_ms - days * DAY_MS if days and interval == "1m" else 0


def _length_ms(interval: str) -> int:
    if interval in MINUTES:
        return MINUTES[interval] * 60_000
    return {"3d": 3, "1w": 7, "1M": 30}[interval] * DAY_MS


def _page_end(interval: str, start_ms: int, limit: int) -> int:
    length = _length_ms(interval)
    return -(-start_ms // length) * length + (limit - 1) * length


def _as_array(row: Row, interval: str) -> list[Any]:
    names = ("time", "open", "high", "low", "close", "volume")
    quote = four(Decimal(row["volume"]) * Decimal(row["close"]))
    return [*(row[name] for name in names), row["time"] + _length_ms(interval) - 1, quote]
