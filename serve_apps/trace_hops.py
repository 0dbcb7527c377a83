"""The hops of a trace in their order, each present or with the reason why it is not. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

from desk.runs import Action, DecisionRecord
from desk.trading.orders import Fill, Order
from desk.trading.trades import Reconciliation, reconciliation_of
from serve_apps.schemas import CandleView, HopView

type HopName = Literal["candle", "decision", "gates", "orders", "fills", "ledger", "reconciliation"]


def hops_of(
    candle: CandleView | None,
    decisions: Sequence[DecisionRecord],
    orders: Sequence[Order],
    fills: Mapping[str, Sequence[Fill]],
) -> list[HopView]:
    """Name every hop from the candle to the reconciliation."""
    booked = [fill for rows in fills.values() for fill in rows]
    return [
        _hop("candle", candle.open_ms if candle else None, "not begun by a stored candle"),
        _decision_hop(candle, decisions, orders),
        _gates_hop(decisions),
        _orders_hop(decisions, orders),
        _fills_hop(orders, booked),
        _ledger_hop(orders, booked),
        _reconciliation_hop(orders),
    ]


def _hop(name: HopName, at_ms: int | None, missing: str, note: str = "") -> HopView:
    present = at_ms is not None
    return HopView(name=name, present=present, at_ms=at_ms, note=note if present else missing)


def _decision_hop(
    candle: CandleView | None, decisions: Sequence[DecisionRecord], orders: Sequence[Order]
) -> HopView:
    manual = "no decision: an operator's order" if orders else "no run decided on this candle"
    missing = manual if candle or orders else "no decision"
    if not decisions:
        return _hop("decision", None, missing)
    newest = decisions[-1]
    said = [f"{one.action.value} {one.hold_reason}".strip() for one in decisions]
    return _hop("decision", newest.decided_at_ms, missing, ", ".join(said))


def _gates_hop(decisions: Sequence[DecisionRecord]) -> HopView:
    gates = [gate for decision in decisions for gate in decision.gates]
    refused = [f"{gate.gate}: {gate.code or 'refused'}" for gate in gates if not gate.passed]
    at_ms = decisions[-1].decided_at_ms if gates else None
    note = ", ".join(refused) or f"all {len(gates)} passed"
    return _hop("gates", at_ms, "no gates: nothing was decided", note)


def _orders_hop(decisions: Sequence[DecisionRecord], orders: Sequence[Order]) -> HopView:
    if orders:
        states = ", ".join(f"{order.client_order_id} {order.state.value}" for order in orders)
        return _hop("orders", min(order.created_ms for order in orders), "", states)
    return _hop("orders", None, _why_no_order(decisions))


def _why_no_order(decisions: Sequence[DecisionRecord]) -> str:
    if not decisions:
        return "no order: nothing was decided"
    decision = decisions[-1]
    match decision.action:
        case Action.KEEP:
            return "no order: the position already was where it should be"
        case Action.HOLD:
            blocking = next((gate for gate in decision.gates if not gate.passed), None)
            where = f" at gate {blocking.gate}" if blocking else ""
            return f"no order: held by {decision.hold_reason or 'the policy'}{where}"
        case Action.TRADE:
            return "no order is stored although the decision was to trade"


def _fills_hop(orders: Sequence[Order], booked: Sequence[Fill]) -> HopView:
    if booked:
        return _hop("fills", min(fill.filled_ms for fill in booked), "", f"{len(booked)} booked")
    if not orders:
        return _hop("fills", None, "no fill: there was no order")
    states = ", ".join(sorted({order.state.value for order in orders}))
    return _hop("fills", None, f"no fill: {states}")


def _ledger_hop(orders: Sequence[Order], booked: Sequence[Fill]) -> HopView:
    """Fills and ledger move in one store call: a booked fill is in the books."""
    accounts = ", ".join(sorted({order.account for order in orders}))
    at_ms = max((fill.filled_ms for fill in booked), default=None)
    return _hop("ledger", at_ms, "nothing was booked", f"books of {accounts}")


def _reconciliation_hop(orders: Sequence[Order]) -> HopView:
    if not orders:
        return _hop("reconciliation", None, "nothing to compare with the venue")
    found = {reconciliation_of(order) for order in orders}
    if found == {Reconciliation.OK}:
        at_ms = max(order.updated_ms or order.created_ms for order in orders)
        return _hop("reconciliation", at_ms, "", "ok")
    return _hop("reconciliation", None, ", ".join(sorted(state.value for state in found)))
