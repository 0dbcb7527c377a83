"""Why a trade was made and what came of it: its decisions, their reasons, its fills and its result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from actors.replay import CandleReader, Replayer
from actors.version_registry import load_artifact
from desk.clock import to_iso
from desk.errors import ArtifactRefused, NotFound
from desk.learning.contributions import METHOD, METHOD_NOTE, Contribution, contributions
from desk.learning.replay import Verdict, observation_names
from desk.market.interval import interval_ms
from desk.runs import AuditEvent, DecisionRecord
from desk.store import kinds
from desk.store.decision_history import DecisionHistory
from desk.store.feature_sets import find_feature_set
from desk.store.places import Home
from desk.store.port import Store
from desk.store.signals import Archive
from desk.trading.fills import funding_amount
from desk.trading.ledger import ZERO, Position
from desk.trading.orders import Fill, Leg, Order
from desk.trading.pnl_split import PnlSplit, slippage_bps, slippage_quote, split_pnl

LARGEST = 5
"""Contributions that are told; the others are smaller."""
AUDIT_ROWS = 1_000
FUNDING_INTERVAL = "1m"
"""Candles whose open is the mark of a settlement, as the fill specification has it."""
LAST_MS = 1 << 52


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedDecision:
    """One decision behind an order of the trade."""

    role: str
    """`entry` or `exit`, by the first of its orders in the trade."""
    decision_id: str
    trace_id: str
    open_ms: int
    decided_at_ms: int
    version_id: str
    target: float
    confidence: float
    decision_threshold: float | None
    reference_price: str
    gates_passed: tuple[str, ...]
    gates_refused: tuple[str, ...]
    warnings: tuple[str, ...]
    size_quote: Decimal | None
    """Notional of a full position at the time."""
    held_quantity: Decimal | None
    replay: Verdict
    contributions: tuple[Contribution, ...]
    """The largest, empty where the artifact is not at hand any more."""
    contributions_note: str
    """Why there are none; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedFill:
    """One execution against the price that was decided on."""

    client_order_id: str
    leg: str
    side: str
    quantity: Decimal
    price: Decimal
    reference_price: Decimal
    slippage_bps: Decimal
    """Positive when the fill was worse."""
    slippage_quote: Decimal
    """Negative when the fill was worse."""
    fee: Decimal
    """Positive when paid."""
    filled_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedFunding:
    """One settlement while the position was held, by its rate and mark; `amount` negative when paid."""

    due_ms: int
    rate: Decimal
    mark: Decimal
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitCause:
    """What ended the trade. `code`: `decision`, `stop_loss`, `take_profit`, `operator`, `other`, or
    `still_open`; `not_filled_yet` and `never_filled` where nothing was ever held."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A trade in words and numbers."""

    trade_id: str
    account: str
    run_id: str
    pair: str
    side: str
    opened_ms: int
    closed_ms: int | None
    held_quantity: Decimal
    quantity: Decimal
    """Of all entries that were filled."""
    decisions: tuple[ExplainedDecision, ...]
    fills: tuple[ExplainedFill, ...]
    funding: tuple[ExplainedFunding, ...]
    exit: ExitCause
    realized_pnl: Decimal
    unrealized_pnl: Decimal
    pnl: PnlSplit
    total: Decimal
    contributions_method: str
    contributions_limits: str
    words: tuple[str, ...]
    """The whole story, a sentence each."""


class Explainer:
    """Reads what is stored of trades; writes nothing."""

    def __init__(
        self,
        home: Home,
        store: Store,
        candles: CandleReader,
        *,
        archive: Archive | None = None,
        decisions: DecisionHistory | None = None,
    ) -> None:
        """`archive` and `decisions` also have what left the store."""
        self._past = decisions or DecisionHistory(store)
        self._home, self._store, self._candles = home, store, candles
        self._replayer = Replayer(home, store, candles, archive=archive)

    def explain(self, trade_id: str) -> Explanation:
        """Tell one trade. Raises `NotFound`."""
        orders = self._store.orders_of_trade(trade_id)
        if not orders:
            raise NotFound("trade", trade_id)
        first = next((order for order in orders if order.leg is Leg.ENTRY), orders[0])
        position, mark = self._held(first)
        by_order = {
            order.client_order_id: self._store.fills_of_order(order.client_order_id)
            for order in orders
        }
        fills = tuple(
            _fill(order, fill) for order in orders for fill in by_order[order.client_order_id]
        )
        decisions = tuple(self._decisions(orders))
        held = position.quantity if position else ZERO
        unrealized = held * (mark - position.average_price) if position and mark else ZERO
        realized = sum((order.realized_pnl for order in orders), ZERO)
        ended_ms = None if position else max((fill.filled_ms for fill in fills), default=None)
        funding = tuple(self._funding(orders, by_order, ended_ms))
        pnl = split_pnl(
            (
                (fill, order.reference_price)
                for order in orders
                for fill in by_order[order.client_order_id]
            ),
            gross=realized + unrealized,
            fees=sum((order.fees for order in orders), ZERO),
            funding=sum((one.amount for one in funding), ZERO),
        )
        cause = self._exit_cause(orders, decisions, held)
        made = Explanation(
            trade_id=trade_id,
            account=first.account,
            run_id=first.run_id,
            pair=first.pair,
            side=first.side.value,
            opened_ms=min((fill.filled_ms for fill in fills), default=first.created_ms),
            closed_ms=ended_ms,
            held_quantity=held,
            quantity=sum(
                (order.filled_quantity for order in orders if order.leg is Leg.ENTRY), ZERO
            ),
            decisions=decisions,
            fills=fills,
            funding=funding,
            exit=cause,
            realized_pnl=realized,
            unrealized_pnl=unrealized,
            pnl=pnl,
            total=pnl.total,
            contributions_method=METHOD,
            contributions_limits=METHOD_NOTE,
            words=(),
        )
        return _with_words(made)

    # --- reading --------------------------------------------------------------------------------

    def _held(self, first: Order) -> tuple[Position | None, Decimal | None]:
        ledger = self._store.ledger(first.account)
        position = ledger.positions.get(first.pair) if ledger else None
        if ledger is None or position is None or position.trade_id != first.trade_id:
            return None, None
        return position if position.quantity else None, ledger.marks.get(first.pair)

    def _decisions(self, orders: Sequence[Order]) -> list[ExplainedDecision]:
        found: dict[str, ExplainedDecision] = {}
        for order in orders:
            record = self._decision(order)
            if record is not None and record.decision_id not in found:
                found[record.decision_id] = self._explained(order.leg.value, record)
        return list(found.values())

    def _decision(self, order: Order) -> DecisionRecord | None:
        if not order.run_id:  # closed by hand, or at the venue
            return None
        return self._past.find(order.run_id, order.decision_id, order.decided_open_ms)

    def _explained(self, role: str, record: DecisionRecord) -> ExplainedDecision:
        evidence = record.evidence
        parts, note = self._contributions(record)
        return ExplainedDecision(
            role=role,
            decision_id=record.decision_id,
            trace_id=record.trace_id,
            open_ms=record.open_ms,
            decided_at_ms=record.decided_at_ms,
            version_id=record.version_id,
            target=record.target,
            confidence=record.confidence,
            decision_threshold=evidence.decision_threshold if evidence else None,
            reference_price=record.reference_price,
            gates_passed=tuple(gate.gate for gate in record.gates if gate.passed),
            gates_refused=tuple(gate.code for gate in record.gates if not gate.passed),
            warnings=record.warnings,
            size_quote=evidence.size_quote if evidence else None,
            held_quantity=evidence.held_quantity if evidence else None,
            replay=self._replayer.replay(record).verdict,
            contributions=parts[:LARGEST],
            contributions_note=note,
        )

    def _contributions(self, record: DecisionRecord) -> tuple[tuple[Contribution, ...], str]:
        features = find_feature_set(self._store, record.feature_set_id)
        evidence = record.evidence
        if evidence is None or features is None or not record.observation:
            return (), "what was shown to the policy is not on record"
        try:
            policy = load_artifact(
                self._home,
                record.version_id,
                features,
                feature_set_id=record.feature_set_id,
                sha256=evidence.artifact_sha256,
                card_sha256=evidence.card_sha256,
            )
        except (ArtifactRefused, OSError) as gone:
            return (), str(gone)
        seen = np.asarray(record.observation, dtype=np.float32)
        return contributions(policy, seen, observation_names(features)), ""

    def _funding(
        self, orders: Sequence[Order], by_order: dict[str, list[Fill]], ended_ms: int | None
    ) -> list[ExplainedFunding]:
        """Settlements while the trade was open: its own fills say what was held."""
        fills = sorted(
            (fill for rows in by_order.values() for fill in rows), key=lambda fill: fill.filled_ms
        )
        instrument = self._store.get(kinds.INSTRUMENTS, orders[0].pair)
        if not fills or instrument is None:
            return []
        docs = self._store.list(
            kinds.funding_rates(orders[0].pair),
            start_ms=fills[0].filled_ms,
            before_ms=LAST_MS if ended_ms is None else ended_ms + 1,
            limit=AUDIT_ROWS,
        )
        step_ms = interval_ms(FUNDING_INTERVAL)
        found: list[ExplainedFunding] = []
        for rate in reversed([doc.value for doc in docs]):
            held = sum((f.side.sign * f.quantity for f in fills if f.filled_ms < rate.due_ms), ZERO)
            near = self._candles.read(
                orders[0].pair, FUNDING_INTERVAL, rate.due_ms, rate.due_ms + 60 * step_ms
            )
            if not held or not len(near):
                continue
            lots = instrument.value.to_lots(held)
            ticks = instrument.value.to_ticks(float(near.open[0]))
            found.append(
                ExplainedFunding(
                    due_ms=rate.due_ms,
                    rate=rate.rate,
                    mark=instrument.value.price_of(ticks),
                    quantity=held,
                    amount=funding_amount(lots, ticks, rate.rate, instrument.value),
                )
            )
        return found

    def _exit_cause(
        self, orders: Sequence[Order], decisions: Sequence[ExplainedDecision], held: Decimal
    ) -> ExitCause:
        filled = [order for order in orders if order.filled_quantity]
        if held:
            return ExitCause(code="still_open", detail=f"{held} are still held")
        if not filled:
            states = ", ".join(sorted({order.state.value for order in orders}))
            waits = any(order.is_open for order in orders)
            code = "not_filled_yet" if waits else "never_filled"
            return ExitCause(code=code, detail=f"no order of it was filled: {states}")
        exits = [order for order in filled if order.leg is Leg.EXIT]
        if not exits:
            return ExitCause(
                code="other",
                detail="no order of ours closed it: see the adjustments of the account's books",
            )
        return self._cause_of(max(exits, key=lambda order: order.updated_ms), decisions)

    def _cause_of(self, last: Order, decisions: Sequence[ExplainedDecision]) -> ExitCause:
        if last.exit_kind is not None:
            what = last.exit_kind.value
            return ExitCause(code=what, detail=f"the venue's {what.replace('_', ' ')} fired")
        made = next((one for one in decisions if one.decision_id == last.decision_id), None)
        if made is not None:
            return ExitCause(
                code="decision",
                detail=f"the policy wanted {made.target:+g} instead, confidence {made.confidence:.3f}",
            )
        asked = self._audited(last.trace_id)
        if asked is not None:
            reason = str(asked.after.get("reason") or "no reason given")
            return ExitCause(code="operator", detail=f"{asked.action} by {asked.actor}: {reason}")
        return ExitCause(code="other", detail=last.decision_id.removeprefix("close:"))

    def _audited(self, trace_id: str) -> AuditEvent | None:
        rows = (doc.value for doc in self._store.list(kinds.AUDIT, limit=AUDIT_ROWS))
        return next((row for row in rows if trace_id and row.trace_id == trace_id), None)


def _fill(order: Order, fill: Fill) -> ExplainedFill:
    return ExplainedFill(
        client_order_id=order.client_order_id,
        leg=order.leg.value,
        side=fill.side.value,
        quantity=fill.quantity,
        price=fill.price,
        reference_price=order.reference_price,
        slippage_bps=round(slippage_bps(fill, order.reference_price), 4),
        slippage_quote=slippage_quote(fill, order.reference_price),
        fee=fill.fee,
        filled_ms=fill.filled_ms,
    )


# --- words ----------------------------------------------------------------------------------------


def _with_words(made: Explanation) -> Explanation:
    words = [
        *(sentence for one in made.decisions for sentence in _of_decision(one)),
        *(_of_fill(fill) for fill in made.fills),
        *(_of_funding(one) for one in made.funding),
        f"Ended by {made.exit.code.replace('_', ' ')}: {made.exit.detail}."
        if made.closed_ms is not None
        else f"{made.exit.code.replace('_', ' ').capitalize()}: {made.exit.detail}.",
        _of_pnl(made),
    ]
    if not made.decisions:
        words.insert(0, "No decision is on record behind its orders: an operator made them.")
    return replace(made, words=tuple(words))


def _of_decision(one: ExplainedDecision) -> list[str]:
    against = "" if one.decision_threshold is None else f" against {one.decision_threshold:.3f}"
    said = [
        f"{one.role.capitalize()}: on the candle of {to_iso(one.open_ms)} {one.version_id} wanted"
        f" {one.target:+g} of the allowed size with confidence {one.confidence:.3f}{against} at"
        f" {one.reference_price}; {len(one.gates_passed)} gates passed"
        + (f", refused: {', '.join(one.gates_refused)}" if one.gates_refused else "")
        + f"; replay {one.replay.value}."
    ]
    if one.size_quote is not None:
        held = one.held_quantity or ZERO
        said.append(f"Size: {one.target:+g} of {one.size_quote} USDT, {held} held before.")
    if one.contributions:
        parts = ", ".join(
            f"{part.feature} {part.value:+.2f} ({part.effect:+.3f})" for part in one.contributions
        )
        said.append(f"What counted most, with the confidence lost without it: {parts}.")
    else:
        said.append(f"What counted cannot be told: {one.contributions_note}.")
    return said


def _of_fill(fill: ExplainedFill) -> str:
    worse = "worse" if fill.slippage_bps > 0 else "better"
    return (
        f"{fill.leg.capitalize()} filled {to_iso(fill.filled_ms)}: {fill.side} {fill.quantity} at"
        f" {fill.price}, {abs(fill.slippage_bps):.2f} bps {worse} than {fill.reference_price}, fee"
        f" {fill.fee}."
    )


def _of_funding(one: ExplainedFunding) -> str:
    did = "received" if one.amount > 0 else "paid"
    return (
        f"Funding {to_iso(one.due_ms)}: {did} {abs(one.amount)} on {one.quantity} at {one.mark},"
        f" rate {one.rate}."
    )


def _of_pnl(made: Explanation) -> str:
    pnl = made.pnl
    return (
        f"Result {pnl.total:+.4f} USDT: price {pnl.price:+.4f}, slippage {pnl.slippage:+.4f}, fees"
        f" {pnl.fees:+.4f}, funding {pnl.funding:+.4f}."
    )
