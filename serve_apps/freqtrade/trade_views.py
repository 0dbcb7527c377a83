"""Trades and their orders in freqtrade's shape."""

from collections.abc import Sequence
from decimal import Decimal

from desk.market.interval import parse_interval
from desk.runs import Run
from desk.trading.instruments import Instrument
from desk.trading.ledger import ZERO
from desk.trading.orders import Leg, Order, OrderState, Side
from serve_apps.freqtrade.books import Entry, symbol_of
from serve_apps.freqtrade.schemas import STAKE_CURRENCY, FacadeTrade, OpenTrade, TradeOrder
from serve_apps.freqtrade.text import minutes_of, moment, moment_or_none, percent, ratio_of

EXCHANGE = "bingx"
TICK_SIZE = 4
"""ccxt's number for: precisions are steps, not digits."""
_STATUS = {
    OrderState.FILLED: "closed",
    OrderState.CANCELLED: "canceled",
    OrderState.EXPIRED: "expired",
    OrderState.REJECTED: "rejected",
    OrderState.NOT_PLACED: "rejected",
}
"""ccxt's words for orders that are over; any other is open."""


def trade_fields(entry: Entry, run: Run | None, instrument: Instrument | None) -> dict[str, object]:
    """What open and closed trades share."""
    trade, orders = entry.trade, entry.orders
    base, _, quote = trade.instrument.partition("-")
    entries = [order for order in orders if order.leg is Leg.ENTRY]
    exits = [order for order in orders if order.leg is Leg.EXIT and order.filled_quantity]
    rate = trade.average_fill_price or orders[0].reference_price
    coins = trade.filled_quantity or trade.quantity
    stake = coins * rate / trade.leverage
    paid = sum((order.fees for order in entries), ZERO)
    sign = trade.side.sign
    filled_ms = min((order.updated_ms for order in entries if _is_filled(order)), default=None)
    booked = trade.realized_pnl - trade.fees if exits else ZERO
    return {
        "trade_id": entry.number,
        "pair": symbol_of(trade.instrument),
        "base_currency": base,
        "quote_currency": quote,
        "is_open": entry.is_open,
        "is_short": trade.side is Side.SELL,
        "exchange": EXCHANGE,
        "amount": float(abs(trade.position_size) or coins),
        "amount_requested": float(trade.quantity),
        "stake_amount": float(stake),
        "strategy": run.version_id if run else "",
        "timeframe": minutes_of(parse_interval(run.interval)) if run else 0,
        **_fees("open", entries, trade.average_fill_price),
        **_fees("close", exits, trade.average_exit_price),
        "open_date": moment(trade.opened_ms),
        "open_timestamp": trade.opened_ms,
        "open_fill_date": moment_or_none(filled_ms),
        "open_fill_timestamp": filled_ms,
        "open_rate": float(rate),
        "open_rate_requested": float(orders[0].reference_price),
        "open_trade_value": float(coins * rate + sign * paid),
        "realized_profit": float(booked),
        "realized_profit_ratio": ratio_of(booked, stake) if exits else None,
        **_stop(entries, rate, sign),
        "nr_of_successful_entries": sum(_is_filled(order) for order in entries),
        "nr_of_successful_exits": sum(_is_filled(order) for order in exits),
        "has_open_orders": any(order.is_open for order in orders),
        "orders": [_order(order) for order in orders],
        "leverage": float(trade.leverage),
        "trading_mode": "futures",
        "amount_precision": float(instrument.lot) if instrument else None,
        "price_precision": float(instrument.tick) if instrument else None,
        "precision_mode": TICK_SIZE if instrument else None,
    }


def closed_trade(entry: Entry, run: Run | None, instrument: Instrument | None) -> FacadeTrade:
    """One trade that is over."""
    trade, result = entry.trade, entry.result
    exits = [order for order in entry.orders if order.leg is Leg.EXIT and order.filled_quantity]
    gained: dict[str, object] = {}
    for name in ("close_profit", "profit"):
        gained |= {
            f"{name}_pct": percent(result.ratio),
            f"{name}_abs": float(result.net),
            ("close_profit" if name == "close_profit" else "profit_ratio"): result.ratio,
        }
    return FacadeTrade.model_validate(
        trade_fields(entry, run, instrument)
        | gained
        | {
            "close_date": moment_or_none(trade.closed_at_ms),
            "close_timestamp": trade.closed_at_ms,
            "close_rate": float(trade.average_exit_price) if exits else None,
            "close_rate_requested": float(exits[-1].reference_price) if exits else None,
            "exit_reason": trade.reason or None,
        }
    )


def open_trade(
    entry: Entry, run: Run | None, instrument: Instrument | None, mark: Decimal | None
) -> OpenTrade:
    """One trade that holds something, or has an order under way, at the last mark."""
    trade = entry.trade
    fields = trade_fields(entry, run, instrument)
    paper = ZERO if mark is None else trade.position_size * (mark - trade.average_fill_price)
    total = paper + trade.realized_pnl - trade.fees
    stake = trade.filled_quantity * trade.average_fill_price / trade.leverage
    still_open = float(total) - float(str(fields["realized_profit"]))
    return OpenTrade.model_validate(
        fields
        | {
            "current_rate": float(mark) if mark is not None else None,
            "profit_abs": still_open,
            "profit_ratio": still_open / float(stake) if stake else 0.0,
            "profit_pct": percent(still_open / float(stake)) if stake else 0.0,
            "total_profit_abs": float(total),
            "total_profit_ratio": ratio_of(total, stake),
        }
    )


def _is_filled(order: Order) -> bool:
    return order.state is OrderState.FILLED


def _order(order: Order) -> TradeOrder:
    if order.exit_kind is not None:
        side, kind = "stoploss" if order.exit_kind.value == "stop_loss" else order.side.value, ""
        kind = order.exit_kind.value
    else:
        side, kind = order.side.value, "market" if order.limit_price is None else "limit"
    price = order.average_price or order.limit_price or order.reference_price
    return TradeOrder(
        pair=symbol_of(order.pair),
        order_id=order.client_order_id,
        status=_STATUS.get(order.state, "open"),
        remaining=float(order.quantity - order.filled_quantity),
        amount=float(order.quantity),
        safe_price=float(price),
        cost=float(order.filled_quantity * order.average_price),
        filled=float(order.filled_quantity),
        ft_order_side=side,
        order_type=kind,
        is_open=order.is_open,
        order_timestamp=order.created_ms,
        order_filled_timestamp=order.updated_ms if _is_filled(order) else None,
        ft_order_tag=order.reason or None,
    )


def _fees(which: str, orders: Sequence[Order], rate: Decimal) -> dict[str, object]:
    """Fees of one side, as an amount and as a fraction of what was traded; nothing before a fill."""
    coins = sum((order.filled_quantity for order in orders), ZERO)
    if not coins or not rate:
        return {}
    paid = sum((order.fees for order in orders), ZERO)
    return {
        f"fee_{which}": float(paid / (coins * rate)),
        f"fee_{which}_cost": float(paid),
        f"fee_{which}_currency": STAKE_CURRENCY,
    }


def _stop(entries: Sequence[Order], rate: Decimal, sign: int) -> dict[str, object]:
    """The protective stop that went to the venue with the entry; it does not move."""
    price = next((order.stop_loss_price for order in entries if order.stop_loss_price), None)
    if price is None or not rate:
        return {}
    ratio = float(sign * (price / rate - 1))
    values = {"abs": float(price), "ratio": ratio, "pct": percent(ratio)}
    return {
        f"{head}_{name}": value
        for head in ("stop_loss", "initial_stop_loss")
        for name, value in values.items()
    }
