"""The private endpoints of orders and fills."""

from datetime import UTC, datetime

from bingx_sim.accounts import Fill, Order
from bingx_sim.clock import DAY_MS
from bingx_sim.errors import bad_parameter
from bingx_sim.exchange import Call, Exchange
from bingx_sim.order_rows import (
    Row,
    created_row,
    fill_row,
    full_order_row,
    lagging_row,
    older_fill_row,
    open_order_row,
    order_row,
)
from bingx_sim.trading import Trading

WINDOW_MS = 7 * DAY_MS
LONG_WINDOW_MS = 30 * DAY_MS


class Orders:
    """Orders of an account, over the venue's order desk."""

    def __init__(self, exchange: Exchange, trading: Trading) -> None:
        self._exchange = exchange
        self._trading = trading

    def place(self, call: Call) -> Row:
        return {"order": created_row(self._trading.place(call))}

    def query(self, call: Call) -> Row:
        return {"order": _row(self._trading.find(call), call)}

    def cancel(self, call: Call) -> Row:
        order = self._trading.cancel(call)
        answer: Row = {"order": order_row(order)}
        if call.fill_on_cancel == "after":
            self._trading.fill_after_cancel(call, order)
        return answer

    def cancel_all(self, call: Call) -> Row:
        pair = self._wanted(call)
        gone = self._trading.cancel_all(call.owner, pair, call.text("type"), call.now_ms)
        return {"success": [order_row(order) for order in gone], "failed": None}

    def close_all(self, call: Call) -> Row:
        made = self._trading.close_all(call.owner, self._wanted(call), call.now_ms)
        return {"success": [order.order_id for order in made], "failed": None}

    def cancel_all_after(self, call: Call) -> Row:
        """Arm or disarm the dead-man switch; it runs on the server clock, not the market's."""
        kind = call.text("type")
        if kind == "CLOSE":
            call.owner.cancel_after_ms = None
            note = "The timer of cancelling all orders is closed"
            return {"triggerTime": 0, "status": "CLOSED", "note": note}
        seconds = call.whole("timeOut", 0)
        if kind != "ACTIVATE" or not 10 <= seconds <= 120:
            raise bad_parameter("Invalid parameters, err:timeOut: must be 10 to 120 seconds")
        at_ms = call.server_ms + seconds * 1000
        call.owner.cancel_after_ms = at_ms
        moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
        note = (
            "All your perpetual pending orders will be closed automatically at "
            f"{moment:%Y-%m-%d %H:%M:%S} UTC(+0),before that you can cancel the timer, "
            "or extend triggerTime time by this request"
        )
        return {"triggerTime": at_ms // 1000, "status": "ACTIVATED", "note": note}

    def open_orders(self, call: Call) -> Row:
        type_ = call.text("type")
        rows = [
            open_order_row(_row(order, call), order)
            for order in call.owner.open_orders(self._wanted(call))
            if _visible(order, call) and (not type_ or order.type == type_)
        ]
        return {"orders": rows}

    def all_orders(self, call: Call) -> Row:
        orders = self._history(call)
        return {"orders": [_row(order, call) for order in orders if not order.is_open]}

    def full_orders(self, call: Call) -> Row:
        orders = self._history(call)
        return {"orders": [full_order_row(_row(order, call), order) for order in orders]}

    def force_orders(self, call: Call) -> Row:
        """Orders the venue made itself: liquidations and auto-deleveraging."""
        kind = call.text("autoCloseType")
        orders = [
            order_row(order)
            for order in self._history(call)
            if order.forced and (not kind or order.forced == kind)
        ]
        return {"orders": orders}

    def _history(self, call: Call) -> list[Order]:
        """Orders of a window, newest first."""
        pair = self._wanted(call)
        start_ms, end_ms = _window(call, "startTime", "endTime", WINDOW_MS)
        after_id = call.whole("orderId", 0)
        found = [
            order
            for order in reversed(call.owner.orders.values())
            if (pair is None or order.pair == pair)
            and start_ms <= order.created_ms <= end_ms
            and order.order_id >= after_id
            and _visible(order, call)
        ]
        return found[: min(max(call.whole("limit", 500), 1), 1_000)]

    def fill_history(self, call: Call) -> Row:
        fills = self._fills(call, WINDOW_MS)
        last_id = call.whole("lastFillId", 0)
        fills = [fill for fill in fills if fill.trade_id > last_id]
        size = min(max(call.whole("pageSize", 50), 1), 1_000)
        first = (max(call.whole("pageIndex", 1), 1) - 1) * size
        rows = [fill_row(fill) for fill in fills[first : first + size]]
        return {"fill_history_orders": rows, "total": len(fills)}

    def all_fills(self, call: Call) -> Row:
        if call.text("tradingUnit") not in {"COIN", "CONT"}:
            raise bad_parameter("Invalid parameters, err:tradingUnit: must be COIN or CONT")
        fills = self._fills(call, LONG_WINDOW_MS)
        return {"fill_orders": [older_fill_row(fill) for fill in fills]}

    def _fills(self, call: Call, window_ms: int) -> list[Fill]:
        """Fills of a window, newest first."""
        pair = self._wanted(call)
        start_ms, end_ms = _window(call, "startTs", "endTs", window_ms)
        order_id = call.whole("orderId", 0)
        return [
            fill
            for fill in reversed(call.owner.fills)
            if (pair is None or fill.pair == pair)
            and start_ms <= fill.at_ms <= end_ms
            and (not order_id or fill.order_id == order_id)
        ]

    def _wanted(self, call: Call) -> str | None:
        pair = call.text("symbol")
        return self._exchange.market(pair).contract.pair if pair else None


def _window(call: Call, start: str, end: str, longest_ms: int) -> tuple[int, int]:
    """The asked window on the market clock; a longer one than allowed is refused."""
    end_ms = call.moment(end, call.now_ms)
    start_ms = call.moment(start, end_ms - longest_ms)
    if end_ms - start_ms > longest_ms:
        days = longest_ms // DAY_MS
        text = f"Invalid parameters, err:the time range cannot exceed {days} days"
        raise bad_parameter(text)
    return start_ms, end_ms


def _visible(order: Order, call: Call) -> bool:
    return call.server_ms >= order.visible_from_ms


def _row(order: Order, call: Call) -> Row:
    return lagging_row(order) if call.server_ms < order.stale_until_ms else order_row(order)
