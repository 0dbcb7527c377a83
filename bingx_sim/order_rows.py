"""The rows of orders and fills: every field the venue sends, the dull ones included."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bingx_sim.accounts import ZERO, Fill, Order
from bingx_sim.instruments import CONTRACTS

BEIJING = timedelta(hours=8)
NUMBERS = frozenset({"stopPrice", "price", "quantity"})

type Row = dict[str, Any]


def created_row(order: Order) -> Row:
    """The answer to a placed order: no status, no fill, no time."""
    return {
        "orderId": order.order_id,
        "orderID": str(order.order_id),
        "symbol": order.pair,
        "positionSide": "BOTH",
        "side": order.side,
        "type": order.type,
        "price": number(order.price),
        "quantity": number(order.quantity),
        "stopPrice": number(order.stop_price),
        "workingType": order.working_type,
        "clientOrderID": order.client_id,
        "clientOrderId": order.client_id,
        "timeInForce": order.time_in_force,
        "priceRate": 0,
        "stopLoss": _protection_text(order.stop_loss),
        "takeProfit": _protection_text(order.take_profit),
        "reduceOnly": order.reduce_only,
        "activationPrice": 0,
        "closePosition": "",
        "stopGuaranteed": "",
    }


def order_row(order: Order) -> Row:
    contract = CONTRACTS[order.pair]
    shown = order.price or (order.average if order.type == "MARKET" else ZERO)
    return {
        "symbol": order.pair,
        "orderId": order.order_id,
        "side": order.side,
        "positionSide": "BOTH",
        "type": order.type,
        "origQty": contract.quantity_text(order.quantity),
        "price": contract.price_text(shown),
        "executedQty": contract.quantity_text(order.executed),
        "avgPrice": contract.price_text(order.average),
        "cumQuote": f"{order.quote:.4f}",
        "stopPrice": contract.price_text(order.stop_price) if order.stop_price else "",
        "profit": f"{order.profit:.4f}",
        "commission": f"{order.commission:.8f}",
        "status": order.status,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "clientOrderId": order.client_id,
        "leverage": f"{order.leverage}X",
        "takeProfit": _protection_row(order.take_profit, "TAKE_PROFIT"),
        "stopLoss": _protection_row(order.stop_loss, "STOP"),
        "advanceAttr": 0,
        "positionID": 0,
        "takeProfitEntrustPrice": 0,
        "stopLossEntrustPrice": 0,
        "orderType": "",
        "workingType": order.working_type,
        "stopGuaranteed": False,
        "triggerOrderId": order.trigger_order_id,
        "reduceOnly": order.reduce_only,
        "onlyOnePosition": True,
    }


def lagging_row(order: Order) -> Row:
    """The order as it was when it was accepted."""
    contract = CONTRACTS[order.pair]
    return {
        **order_row(order),
        "price": contract.price_text(order.price),
        "executedQty": contract.quantity_text(ZERO),
        "avgPrice": contract.price_text(ZERO),
        "cumQuote": "0.0000",
        "profit": "0.0000",
        "commission": "0.00000000",
        "status": "PENDING" if order.type == "LIMIT" else "NEW",
        "updateTime": order.created_ms,
    }


def open_order_row(row: Row, order: Order) -> Row:
    """Extend an order row as `openOrders` does; it also spells one nested field differently."""
    nested = {
        name: {("StopGuaranteed" if k == "stopGuaranteed" else k): v for k, v in row[name].items()}
        for name in ("takeProfit", "stopLoss")
    }
    return {
        **row,
        **nested,
        "trailingStopRate": 0,
        "trailingStopDistance": 0,
        "postOnly": order.time_in_force == "PostOnly",
    }


def full_order_row(row: Row, order: Order) -> Row:
    """Extend an order row as `fullOrder` does."""
    post_only = order.time_in_force == "PostOnly"
    return {**row, "postOnly": post_only, "isTwap": False, "mainOrderId": ""}


def fill_row(fill: Fill) -> Row:
    """A row of `fillHistory`. `qty` is the notional; `filledTm` claims UTC and is Beijing time."""
    contract = CONTRACTS[fill.pair]
    return {
        "filledTm": _beijing(fill.at_ms, "%Y-%m-%dT%H:%M:%SZ"),
        "volume": contract.quantity_text(fill.quantity),
        "price": contract.price_text(fill.price),
        "qty": f"{fill.quantity * fill.price:.4f}",
        "quoteQty": f"{fill.quantity * fill.price:.4f}",
        "commission": f"{-fill.fee:.8f}",
        "commissionAsset": "USDT",
        "orderId": str(fill.order_id),
        "tradeId": str(fill.trade_id),
        "filledTime": _local_time(fill.at_ms),
        "symbol": fill.pair,
        "role": "maker" if fill.maker else "taker",
        "side": fill.side,
        "positionSide": "BOTH",
        "realisedPNL": f"{fill.realised:.8f}",
    }


def older_fill_row(fill: Fill) -> Row:
    """A row of `allFillOrders`: no trade id."""
    contract = CONTRACTS[fill.pair]
    return {
        "filledTm": _beijing(fill.at_ms, "%Y-%m-%dT%H:%M:%SZ"),
        "volume": contract.quantity_text(fill.quantity),
        "price": contract.price_text(fill.price),
        "amount": f"{fill.quantity * fill.price:.4f}",
        "commission": f"{-fill.fee:.8f}",
        "currency": "USDT",
        "orderId": str(fill.order_id),
        "liquidatedPrice": "0.00",
        "liquidatedMarginRatio": "0.00",
        "filledTime": _local_time(fill.at_ms),
        "clientOrderID": fill.client_id,
        "symbol": fill.pair,
        "side": fill.side,
        "positionSide": "BOTH",
        "type": fill.order_type,
        "orderType": "",
        "workingType": "MARK_PRICE",
        "stopPrice": "",
        "onlyOnePosition": True,
        "reduceOnly": fill.reduce_only,
    }


def number(value: Decimal) -> int | float:
    """A JSON number; a whole one has no decimal point."""
    return int(value) if value == value.to_integral_value() else float(value)


def _beijing(at_ms: int, form: str) -> str:
    """Local time of UTC+8 under any zone label: the venue calls it both `Z` and `+0800`."""
    return (datetime.fromtimestamp(at_ms // 1000, tz=UTC) + BEIJING).strftime(form)


def _local_time(at_ms: int) -> str:
    return f"{_beijing(at_ms, '%Y-%m-%dT%H:%M:%S')}.{at_ms % 1000:03d}+0800"


def _protection_text(protection: dict[str, str] | None) -> str:
    """An attached order as the create answer shows it: a JSON object in a string."""
    if protection is None:
        return ""
    parts = (
        f'"{name}":{value}' if name in NUMBERS else f'"{name}":"{value}"'
        for name, value in protection.items()
    )
    return "{" + ",".join(parts) + "}"


def _protection_row(protection: dict[str, str] | None, type_: str) -> Row:
    fields = protection or {}
    numbers = {name: number(Decimal(fields.get(name) or 0)) for name in NUMBERS}
    return {
        "type": fields.get("type", type_),
        **{name: numbers[name] for name in ("quantity", "stopPrice", "price")},
        "workingType": fields.get("workingType", ""),
        "stopGuaranteed": "",
    }
