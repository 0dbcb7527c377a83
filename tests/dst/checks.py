"""The witness: sees every stored change and everything on the wire, and says what must never happen.

W and S of the reliability page are judged at the moment they happen, L when the storm is over.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from desk.ids import Pair
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Stream
from desk.trading import invariants
from desk.trading import ledger as books
from desk.trading.ledger import Ledger
from desk.trading.limits import default_live_policy
from desk.trading.orders import Fill, Leg, Order, OrderState, Side
from tests.dst.exchange import PAIRS, AtVenue, Exchange, is_ours

if TYPE_CHECKING:
    from tests.dst.incarnation import Incarnation

ABSENT_AFTER_MS = 5_000 + 2_000 + 1_000
"""Receive window, visibility lag and clock skew: stated here once more, as a second opinion."""
ABSENT_VOTES = 3
COMMIT_IS_FRESH_S = 2.0
ENDED = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.REJECTED,
        OrderState.EXPIRED,
        OrderState.NOT_PLACED,
    }
)
LEGAL = {
    "intent": "sending not_placed unknown",
    "sending": "sending open partial filled rejected unknown",
    "unknown": "unknown intent quarantined open partial filled cancelled expired rejected not_placed",
    "quarantined": "quarantined intent open partial filled cancelled expired rejected not_placed",
    "open": "open partial filled cancelling cancelled expired",
    "partial": "partial filled cancelling cancelled expired",
    "cancelling": "cancelling open partial filled cancelled",
    "filled": "filled unknown",
    "cancelled": "unknown",
    "rejected": "unknown",
    "expired": "unknown",
    "not_placed": "unknown",
}
"""The table of the reliability page, written down a second time: the product's may be wrong."""
EXPOSURE_SLACK = Decimal("1.02")
"""A fill is dearer than the price that the limit was checked at."""


class Witness:
    """What happened, in order, and every breach of a promise."""

    def __init__(self, store: MemoryStore, exchange: Exchange, *, exposure_cap: Decimal) -> None:
        self.store, self.exchange, self.exposure_cap = store, exchange, exposure_cap
        self.breaches: list[str] = []
        self.tell: Callable[[str], Any] | None = None
        """Hears the story line by line."""
        self.history: defaultdict[str, list[Order]] = defaultdict(list)
        self.open: dict[str, Order] = {}
        self.fills: dict[str, Fill] = {}
        self.booked: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.expected = dict.fromkeys(PAIRS, Decimal(0))
        self.asked_adjustments: dict[str, tuple[Pair, Decimal]] = {}
        self.ledger: Ledger | None = None
        self.sends: defaultdict[str, list[int]] = defaultdict(list)
        self.killed_since_s: float | None = None
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._committed_by: dict[tuple[str, int], tuple[int, float]] = {}
        """Epoch and time of each stored version of a row."""
        self._digest = hashlib.sha256()
        self._state = store._state

    # --- the story ------------------------------------------------------------------------------

    def note(self, *what: str) -> None:
        """Write down one fact of the run."""
        line = f"{self.exchange.loop.now_s:.6f} {' '.join(what)}\n"
        if self.tell is not None:
            self.tell(line)
        self._digest.update(line.encode())
        self.counts[what[0]] += 1

    @property
    def trace_hash(self) -> str:
        """Of everything that happened: equal for equal seeds."""
        return self._digest.hexdigest()

    def breach(self, text: str) -> None:
        self.breaches.append(f"{text} at {self.exchange.loop.now_s:.3f} s")

    # --- the wire -------------------------------------------------------------------------------

    def sent(self, order: Order, sender: "Incarnation") -> None:
        """A `new` is about to leave."""
        cid = order.client_order_id
        self.note("new", cid, str(order.attempts), str(sender.number))
        row = self.store.order(cid)
        if row is None or row.sent_wall_ms != order.sent_wall_ms or row.state is OrderState.INTENT:
            self.breach(f"W1: {cid} left without a stored SENDING row")
        self._judge_resend(cid)
        self._judge_sender(cid, sender)
        if order.leg is Leg.EXIT and not order.reduce_only:
            self.breach(f"W5: exit {cid} is not reduce-only")
        killed_s, now_s = self.killed_since_s, self.exchange.loop.now_s
        if killed_s is not None and not order.reduce_only and now_s > killed_s + COMMIT_IS_FRESH_S:
            self.breach(f"S10: entry {cid} left {now_s - killed_s:.1f} s after the kill switch")
        self.sends[cid].append(order.sent_wall_ms)

    def _judge_resend(self, cid: str) -> None:
        if not self.sends[cid]:
            return
        rows, last_ms = self.history[cid], self.sends[cid][-1]
        proofs = [
            before
            for before, after in pairwise(rows)
            if after.state is OrderState.INTENT and before.sent_wall_ms == last_ms
        ]
        if not any(
            row.not_found_votes >= ABSENT_VOTES
            and row.last_vote_wall_ms > last_ms + ABSENT_AFTER_MS
            for row in proofs
        ):
            self.breach(f"W2: {cid} left again without proof of its absence")

    def _judge_sender(self, cid: str, sender: "Incarnation") -> None:
        """The venue knows no epochs, so the last moment to judge one is the commit before the send."""
        sending = [row for row in self.history[cid] if row.state is OrderState.SENDING]
        committed = self._committed_by.get((cid, sending[-1].version)) if sending else None
        if committed is None:
            return  # W1 says so
        epoch, at_s = committed
        if epoch != sender.epoch:
            self.breach(f"W4: {cid} left by epoch {sender.epoch}, committed by {epoch}")
        if self.exchange.loop.now_s > at_s + COMMIT_IS_FRESH_S:
            self.breach(f"W4: {cid} left long after its commit")

    def accepted(self, order: AtVenue) -> None:
        """The venue took an order."""
        cid = order.client_order_id
        self.note("accepted", cid, order.venue_order_id)
        twins = sum(other.client_order_id == cid for other in self.exchange.orders)
        if twins > 1:
            self.breach(f"W3: {cid} is at the venue {twins} times")
        row = self._last(cid)
        if row is not None:
            self._judge_denial(row)

    def filled(self, order: AtVenue, fill: Fill) -> None:
        self.note("fill", fill.fill_id, str(fill.quantity))

    def ended(self, order: AtVenue) -> None:
        self.note("ended", order.venue_order_id, order.status.value)

    def cancel_sent(self, client_order_id: str) -> None:
        self.note("cancel", client_order_id)
        if client_order_id not in self.history:
            self.breach(f"O17: {client_order_id} is not ours and was to be cancelled")

    # --- the store ------------------------------------------------------------------------------

    def stored(self, name: str, result: Any, by: "Incarnation", arguments: dict[str, Any]) -> None:
        """A changing call of the store came back."""
        match name:
            case "create_order" | "move_order":
                self._row_stored(result, by)
            case "apply_fill":
                if result is not None:  # None: the fill was known
                    row, ledger = result
                    self._fill_stored(arguments["fill"], row, ledger, by=by)
            case "create_ledger" | "move_ledger" | "adjust_ledger":
                if result is not None:  # None: the adjustment was known
                    self._ledger_stored(result)
            case _:
                pass

    def _row_stored(self, row: Order, by: "Incarnation") -> bool:
        rows = self.history[row.client_order_id]
        if rows and row.version <= rows[-1].version:
            return False  # the answer of an earlier call, once more
        self.note("row", row.client_order_id, row.state.value, str(row.version), str(by.number))
        rows.append(row)
        self._judge_move(rows)
        self._committed_by[row.client_order_id, row.version] = (by.epoch, self.exchange.loop.now_s)
        if row.state in ENDED:
            self.open.pop(row.client_order_id, None)
        else:
            self.open[row.client_order_id] = row
        self._judge_denial(row)
        self._judge_end(row)
        self._judge_reservations(row)
        if row.filled_quantity != self.booked[row.client_order_id]:
            self.breach(f"S1: {row.client_order_id} says {row.filled_quantity} is filled")
        begins = row.state is OrderState.SENDING and rows[-2:-1] and rows[-2].state is not row.state
        if begins and self.killed_since_s is not None and not row.reduce_only:
            self.breach(f"S10: {row.client_order_id} began to send under the kill switch")
        return True

    def _judge_move(self, rows: list[Order]) -> None:
        after = rows[-1]
        if len(rows) == 1:
            if after.version != 1 or after.state is not OrderState.INTENT:
                self.breach(f"S6: {after.client_order_id} began as {after.state}")
            return
        before = rows[-2]
        if after.version != before.version + 1:
            self.breach(f"S6: {after.client_order_id} jumped from version {before.version}")
        if after.state.value not in LEGAL[before.state.value].split():
            self.breach(f"S6: {after.client_order_id} went from {before.state} to {after.state}")

    def _fill_stored(self, fill: Fill, row: Order, ledger: Ledger, *, by: "Incarnation") -> None:
        if fill.fill_id in self.fills:
            if row.version > self.history[row.client_order_id][-1].version:
                self.breach(f"S2: fill {fill.fill_id} was booked twice")
            return
        self.fills[fill.fill_id] = fill
        self.booked[row.client_order_id] += fill.quantity
        self.expected[fill.pair] += fill.side.sign * fill.quantity
        self.note("booked", fill.fill_id)
        if self.booked[row.client_order_id] > row.quantity:
            self.breach(f"S1: {row.client_order_id} is filled beyond its quantity")
        self._row_stored(row, by)
        self._ledger_stored(ledger)

    def _ledger_stored(self, ledger: Ledger) -> None:
        if self.ledger is not None and ledger.version <= self.ledger.version:
            return
        self.ledger = ledger
        for pair in PAIRS:
            moved = books.held_quantity(ledger, pair) - self.expected[pair]
            if moved:
                self._adjusted(pair, moved)
        self.breaches += invariants.s8_books_balance(ledger)

    def _adjusted(self, pair: Pair, moved: Decimal) -> None:
        for adjustment_id, asked in self.asked_adjustments.items():
            if asked == (pair, moved):
                del self.asked_adjustments[adjustment_id]
                self.expected[pair] += moved
                self.note("adjusted", pair, str(moved))
                return
        self.breach(f"S3: {pair} moved by {moved} without a fill or an adjustment")
        self.expected[pair] += moved

    def _last(self, cid: str) -> Order | None:
        rows = self.history.get(cid)
        return rows[-1] if rows else None

    def _judge_denial(self, row: Order) -> None:
        """S4; outside the clock bound nobody can keep it."""
        if self.exchange.mix.is_skewed:
            return
        if row.state not in (OrderState.REJECTED, OrderState.NOT_PLACED):
            return
        there = self.exchange.find(row.client_order_id)
        if there is not None and (there.filled or there.rests):
            self.breach(f"S4: {row.client_order_id} is {row.state} but at the venue")

    def _judge_end(self, row: Order) -> None:
        there = self.exchange.find(row.client_order_id)
        if row.state is not OrderState.CANCELLED or there is None or there.ended_late:
            return
        if row.filled_quantity < there.filled:
            self.breach(
                f"S5: {row.client_order_id} is cancelled with {row.filled_quantity},"
                f" the venue filled {there.filled}"
            )

    def _judge_reservations(self, row: Order) -> None:
        reserved = self._state.reserved[row.account]
        self.breaches += invariants.s7_reservations_are_open_intents(
            list(self.open.values()), reserved
        )
        if row.version == 1 and not row.reduce_only:
            self._judge_exposure()
            self._judge_limits(row)

    def _judge_limits(self, row: Order) -> None:
        """S11: an entry is within the limits that are in force when its row is created."""
        found = self.store.get(kinds.RISK_LIMITS, "default")
        assert found is not None, "the world is furnished with it"
        kept = self.store.get(kinds.ACCOUNT_POLICIES, row.account)
        limits = found.value
        policy = kept.value if kept else default_live_policy(row.account)
        assert self.ledger is not None, "no order is created before the books"
        equity = books.equity(self.ledger)
        notionals: dict[Pair, Decimal] = {}
        for pair in PAIRS:
            up, down = self._extremes(pair)
            worst = max(up, -down)
            if pair == row.pair:
                # What it holds the other way is its own exit's to close.
                worst = max(up if row.side is Side.BUY else -down, Decimal(0))
            notionals[pair] = worst * self.exchange.price(pair)
        mine, total = notionals[row.pair], sum(notionals.values(), Decimal(0))
        count = sum(one > 0 for one in notionals.values())
        for name, asked, allowed in (
            ("max_position_size", mine, limits.max_position_size),
            ("max_instrument_exposure", mine, policy.max_instrument_exposure * equity),
            ("max_total_exposure", total, policy.max_total_exposure * equity),
        ):
            if asked > allowed * EXPOSURE_SLACK:
                self.breach(f"S11: {row.client_order_id} makes {asked} of {name} {allowed}")
        if count > min(limits.max_open_positions, policy.max_open_positions):
            self.breach(f"S11: {row.client_order_id} makes {count} open positions")

    def _judge_exposure(self) -> None:
        """What could be held at worst, if every open order filled, stays within the account's cap."""
        total = Decimal(0)
        for pair in self.expected:
            up, down = self._extremes(pair)
            total += max(abs(up), abs(down)) * self.exchange.price(pair)
        if total > self.exposure_cap * EXPOSURE_SLACK:
            self.breach(f"S7: {total} could be held, cap {self.exposure_cap}")

    def _extremes(self, pair: Pair) -> tuple[Decimal, Decimal]:
        """Most and least that may come to be held, if every open order fills as badly as it can."""
        held = self.expected[pair]
        mine = [order for order in self.open.values() if order.pair == pair]
        exits = sum(
            (
                order.remaining_quantity
                for order in mine
                if order.reduce_only and order.side.sign * held < 0  # the others close nothing more
            ),
            Decimal(0),
        )
        entries = {
            side: sum(
                (
                    order.remaining_quantity
                    for order in mine
                    if order.side is side and not order.reduce_only
                ),
                Decimal(0),
            )
            for side in Side
        }
        left = held - min(exits, abs(held)) * (1 if held > 0 else -1)
        return max(held, left) + entries[Side.BUY], min(held, left) - entries[Side.SELL]

    # --- when the storm is over -----------------------------------------------------------------

    def unfinished(self, *, since_ms: int | None = None) -> list[str]:
        """L1 to L5: what has not come true yet; empty when both sides agree and nothing is open.

        With `since_ms` only what has stood at the venue as it is since then.
        """
        late: list[str] = []
        for cid, rows in self.history.items():
            row = rows[-1]
            there = self.exchange.find(cid)
            if since_ms is not None and (there is None or there.updated_ms > since_ms):
                continue
            if there is not None and not there.rests and row.state not in ENDED:
                late.append(f"L1: {cid} is {row.state}, at the venue {there.status}")
            elif row.state in (OrderState.UNKNOWN, OrderState.SENDING, OrderState.QUARANTINED):
                late.append(f"L2: {cid} is {row.state}")
            elif row.state in ENDED and there is not None and there.filled != row.filled_quantity:
                late.append(f"L1: {cid} booked {row.filled_quantity}, venue {there.filled}")
            elif row.state in ENDED and there is not None and there.rests:
                late.append(f"L1: {cid} is {row.state}, at the venue {there.status}")
            elif row.state is OrderState.INTENT:
                late.append(f"L4: {cid} waits to be sent")
        for pair, quantity in self.exchange.positions.items():
            ours = books.held_quantity(self.ledger, pair) if self.ledger else Decimal(0)
            if ours != quantity:
                late.append(f"L3: {pair} is {ours}, at the venue {quantity}")
        for wish in self.store.list(kinds.FLATTENINGS):
            late.append(f"L5: {wish.key} is to be flat")
        return late

    def still_open(self) -> bool:
        """Whether an order of ours still rests at the venue."""
        return any(order.rests and is_ours(order) for order in self.exchange.orders)

    def judge_stream(self) -> None:
        """S9: the event stream tells the same story as the rows."""
        told: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for _, event in self._state.streams[Stream.ORDERS]:
            if event.topic in ("order", "fill"):
                state = event.data["state" if event.topic == "order" else "order_state"]
                told[event.data["client_order_id"]].append((event.topic, state))
        for cid, rows in self.history.items():
            if [state for _, state in told[cid]] != [row.state.value for row in rows]:
                self.breach(f"S9: the stream tells {told[cid]} of {cid}")
