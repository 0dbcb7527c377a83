"""A trace as spans, made from what is stored of it: from the candle's close to the last fill.

Ids are functions of ours: a trace that is exported twice is the same spans twice.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from desk.market.interval import interval_ms, parse_interval
from desk.runs import DecisionRecord
from desk.trading.orders import Fill, Order, OrderState

STAGES = ("features", "policy", "risk", "execute")
TROUBLES = (OrderState.REJECTED, OrderState.QUARANTINED, OrderState.UNKNOWN)

type WallOf = Callable[[int], float]
"""Market ms to wall ms."""
type Attributes = dict[str, str | float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stretch of a trace; wall ms, the end not before the start."""

    trace_id: int
    """128 bits made of ours, which is the attribute `raydesk.trace_id`."""
    span_id: int
    """64 bits."""
    parent_id: int | None
    name: str
    start_ms: float
    end_ms: float
    attributes: Mapping[str, str | float]
    is_error: bool = False


def spans_of(
    decision: DecisionRecord,
    orders: Sequence[Order],
    fills: Mapping[str, Sequence[Fill]],
    wall_of: WallOf,
) -> list[Span]:
    """The spans of one decision, the whole of it first; `fills` by client order id.

    Stages have the times at which they began and ended. An acknowledgement lasts from sending until
    the decision had the answer, a fill from sending until the venue's time of the execution.
    """
    close_ms = decision.open_ms + interval_ms(parse_interval(decision.interval))
    decided_ms = wall_of(decision.decided_at_ms)
    began_ms = decided_ms - decision.latency_ms.get("total", 0.0)
    trace = _Trace(decision)
    root = decision.decision_id
    parts = [trace.span("ingestion", root, wall_of(close_ms), began_ms)]
    for stage in STAGES:
        offset_ms = decision.stage_began_ms.get(stage)
        if offset_ms is not None:
            start_ms = began_ms + offset_ms
            parts.append(trace.span(stage, root, start_ms, start_ms + decision.latency_ms[stage]))
    for order in orders:
        parts += _order_spans(trace, root, order, parts, wall_of)
        parts += [
            trace.span(
                "fill",
                order.client_order_id,
                order.sent_wall_ms or wall_of(order.created_ms),
                wall_of(fill.filled_ms),
                key=fill.fill_id,
                said={"price": str(fill.price), "quantity": str(fill.quantity)},
            )
            for fill in fills.get(order.client_order_id, ())
        ]
    end_ms = max([decided_ms, *(part.end_ms for part in parts)])
    whole = trace.span(
        "decision", None, wall_of(close_ms), end_ms, key=root, said=_said_of(decision)
    )
    return [whole, *parts]


def _order_spans(
    trace: "_Trace", root: str, order: Order, before: Sequence[Span], wall_of: WallOf
) -> list[Span]:
    cid, made_ms = order.client_order_id, wall_of(order.created_ms)
    said: Attributes = {
        "client_order_id": cid,
        "state": order.state.value,
        "side": order.side.value,
        "quantity": str(order.quantity),
        "attempts": order.attempts,
    }
    whole = trace.span(
        f"order {order.leg.value}",
        root,
        made_ms,
        wall_of(order.updated_ms),
        key=cid,
        said=said,
        is_error=order.state in TROUBLES,
    )
    answered_ms = next((span.end_ms for span in before if span.name == "execute"), None)
    if not order.sent_wall_ms or answered_ms is None:
        return [whole]
    sent_ms = float(order.sent_wall_ms)
    return [whole, trace.span("acknowledgement", cid, sent_ms, answered_ms, key=f"{cid}:answer")]


class _Trace:
    """Names the spans of one trace."""

    def __init__(self, decision: DecisionRecord) -> None:
        self._ours = decision.trace_id
        self._said: Attributes = {"raydesk.trace_id": decision.trace_id, "pair": decision.pair}
        # Two runs may decide on one candle: their spans are in one trace and not the same.
        self._decision_id = decision.decision_id

    def span(
        self,
        name: str,
        parent: str | None,
        start_ms: float,
        end_ms: float,
        *,
        key: str = "",
        said: Mapping[str, str | float] | None = None,
        is_error: bool = False,
    ) -> Span:
        return Span(
            trace_id=_number(16, self._ours),
            span_id=self._span_id(key or name),
            parent_id=None if parent is None else self._span_id(parent),
            name=name,
            start_ms=start_ms,
            end_ms=max(end_ms, start_ms),
            attributes={**self._said, **(said or {})},
            is_error=is_error,
        )

    def _span_id(self, key: str) -> int:
        return _number(8, self._ours, self._decision_id, key)


def _said_of(decision: DecisionRecord) -> Attributes:
    return {
        "run_id": decision.run_id,
        "version_id": decision.version_id,
        "interval": decision.interval,
        "action": decision.action.value,
        "hold_reason": decision.hold_reason,
        "target": decision.target,
        "confidence": decision.confidence,
    }


def _number(size: int, *parts: str) -> int:
    """An id of `size` bytes, never 0."""
    digest = hashlib.sha256("|".join(parts).encode()).digest()
    return int.from_bytes(digest[:size], "big") or 1
