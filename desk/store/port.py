"""What the desk asks of its store. `valkey` and `memory` both keep this contract, field by field.

Synchronous and thread-safe: asynchronous callers go through `asyncio.to_thread`. Every mutation is
one atomic server-side call that also appends its event; it may be repeated with the same
`request_id` and then returns the first result without a second effect.
Every method raises `StoreUnavailable` when the outcome is unknown, and `BadInput` when a request id
was used for another change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from desk.ids import Pair
from desk.learning.versions import AgentVersion
from desk.market.candles import Candles
from desk.market.interval import Interval
from desk.runs import Agent, AuditEvent
from desk.store.layout import MONEY_REQUEST_TTL_S
from desk.trading.ledger import Adjustment, Ledger
from desk.trading.orders import Fill, Order


class Stream(StrEnum):
    """Event streams: money, risk, everything else."""

    ORDERS = "ev:orders"
    RISK = "ev:risk"
    OPS = "ev:ops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `topic` is the server-sent event name, `key` what it is about."""

    topic: str
    key: str
    data: Mapping[str, Any]
    """JSON values only; Decimals as strings."""
    at_ms: int
    trace_id: str = ""
    stream: Stream = Stream.OPS
    event_id: str = ""
    """The entry id in its stream; empty until appended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Ownership of a role: every money call carries it."""

    role: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind[T]:
    """A kind of document: key prefix and the dataclass (or dict type) it holds."""

    name: str
    type: type[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doc[T]:
    """A stored document with its version (1 after creation) and its sort time."""

    key: str
    value: T
    version: int
    at_ms: int


type Wanted = tuple[Kind[Any], str]
"""A document by kind and key."""

type Listed = tuple[Kind[Any], int]
"""The newest `LIST_LIMIT` documents of a kind from a time on, as `DocStore.list` gives them."""

LIST_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Candles of a series that a reader holds, as `CandleStore.candles_after` is asked about them."""

    pair: Pair
    interval: Interval
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """An account and some documents as they stood at one moment."""

    order: Order | None
    ledger: Ledger | None
    active_orders: list[Order]
    kill_reason: str | None
    docs: list[Doc[Any] | None]
    """In the order in which they were asked for."""
    lists: list[list[Doc[Any]]]
    """Likewise."""
    after: "CandlesAfter | None"
    """What follows the candles that were said to be held; None also where none were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A document as a decision read it; version 0: it was not there."""

    kind: str
    key: str
    version: int

    @classmethod
    def of[T](cls, kind: Kind[T], key: str, found: Doc[T] | None) -> "Reading":
        """What was read."""
        return cls(kind=kind.name, key=key, version=found.version if found else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of `observability_metrics`."""

    name: str
    value: float
    unit: str
    recorded_at_ms: int
    tags: Mapping[str, str]
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What lets a version become the active one of its agent.

    To promote: the newest evaluation of this version on this pair, at the version its document was
    judged at. To go back: the evaluation on the version's own record, without version and pair.
    """

    evaluation_id: str
    evaluation_version: int | None = None
    pair: Pair = ""
    dataset_sha256: str = ""
    """Of the candles that were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionMove:
    """A version whose status moves together with the pointer."""

    before: Doc[AgentVersion]
    after: AgentVersion


class Standing(StrEnum):
    """Where a request that must happen once stands."""

    BEGUN = "begun"
    """Ours to carry out."""
    IN_FLIGHT = "in_flight"
    DONE = "done"
    OTHER_BODY = "other_body"
    """The name is in use for a request with another fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The answer to `begin_request`; `answer` is what was kept, for a request that is done."""

    standing: Standing
    answer: bytes = b""


class LeaseStore(Protocol):
    def acquire_lease(self, role: str, owner: str, ttl_ms: int) -> Fence:
        """Take the role with a higher epoch than ever before; older owners are fenced from now on."""
        ...

    def renew_lease(self, fence: Fence, ttl_ms: int) -> None:
        """Raises `Fenced` if a newer epoch exists."""
        ...


class OrderStore(Protocol):
    """Orders, fills and the ledger. The executor and the risk ledger own them; others read."""

    def create_order(
        self,
        order: Order,
        ledger: Ledger,
        *,
        fence: Fence,
        request_id: str,
        event: Event,
        readings: Sequence[Reading] = (),
        after: str = "",
    ) -> Order:
        """Reserve `order.reserved_quote` and create the row in one call; returns it with version 1.

        Idempotent by client order id: an existing row is returned as it stands, nothing changes.
        Raises `VersionConflict` if the ledger moved past `ledger.version`, or one of the documents
        that it was judged by past its reading (read them and check again), or while the change
        that was asked for under the request id `after` is not committed; `Fenced`; and
        `LimitReached("kill_switch")` for an order that is not reduce-only while a kill flag of its
        account or of all is set. Moves the ledger's version.
        """
        ...

    def move_order(
        self, before: Order, after: Order, *, fence: Fence, request_id: str, event: Event
    ) -> Order:
        """Replace `before` (by version) with `after`; a terminal `after` releases its reservation.

        Returns `after` with version + 1. Raises `VersionConflict`, `Fenced`,
        `IllegalTransition` when from → to is not in the table of `desk.trading.orders`, and
        `LimitReached("kill_switch")` when an order that is not reduce-only would start sending
        while a kill flag stops its account, or its own switch the agent of its run. Re-opening a terminal order reserves again and moves
        the ledger's version, so that limits checked without it are checked anew.
        """
        ...

    def apply_fill(
        self,
        fill: Fill,
        before: Order,
        after: Order,
        ledger_before: Ledger,
        ledger_after: Ledger,
        *,
        fence: Fence,
        request_id: str,
        event: Event,
    ) -> tuple[Order, Ledger] | None:
        """Book one execution: fill, order and ledger move together; None if the fill id is known."""
        ...

    def order(self, client_order_id: str) -> Order | None: ...

    def active_orders(self, account: str) -> list[Order]:
        """Every order of an account that is not terminal, oldest first."""
        ...

    def orders_of_trade(self, trade_id: str) -> list[Order]:
        """Oldest first."""
        ...

    def trade_ids(
        self, *, account: str | None = None, before_ms: int | None = None, limit: int = 200
    ) -> list[str]:
        """Trades by time of their first order, newest first, created strictly before `before_ms`."""
        ...

    def fills_of_order(self, client_order_id: str) -> list[Fill]:
        """Oldest first."""
        ...

    def reservations(self, account: str) -> dict[str, str]:
        """Open reservations: client order id → quote amount as a decimal string."""
        ...

    def ledger(self, account: str) -> Ledger | None: ...

    def create_ledger(self, ledger: Ledger, *, fence: Fence, event: Event) -> Ledger:
        """Create the books of an account; an existing ledger is returned unchanged."""
        ...

    def move_ledger(
        self, before: Ledger, after: Ledger, *, fence: Fence, request_id: str, event: Event
    ) -> Ledger:
        """Marks and funding. Raises `VersionConflict`, `Fenced`."""
        ...

    def adjust_ledger(
        self,
        adjustment: Adjustment,
        before: Ledger,
        after: Ledger,
        *,
        fence: Fence,
        request_id: str,
        event: Event,
    ) -> Ledger | None:
        """Book a change from outside: adjustment and ledger together; None if its id is known.

        The id is kept for ever, longer than any request id. Raises `VersionConflict`, `Fenced`.
        """
        ...

    def adjustments(self, account: str) -> list[Adjustment]:
        """Everything booked by `adjust_ledger`, oldest first."""
        ...

    def set_kill(self, scope: str, *, on: bool, reason: str, event: Event) -> None:
        """Set or lift the kill flag of an account, or of every account (`scope="all"`)."""
        ...

    def kill_reason(self, account: str) -> str | None:
        """Reason of the flag that stops this account (its own or `all`), or None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The end of the audit's chain, and which part of it is in the store."""

    seq: int
    """Place of the last row; 0: there is none."""
    sha256: str
    """Of the last row; empty: there is none."""
    trimmed_seq: int
    """Rows up to this place are in the history alone."""
    rows: int
    """Held here; `seq - trimmed_seq` unless somebody meddled with them."""


class AuditStore(Protocol):
    """The audit: a chain that only grows at its end. `desk.audit_chain` seals and checks the rows."""

    def audit_head(self) -> AuditHead: ...

    def append_audit(self, row: AuditEvent, *, event: Event | None = None) -> AuditEvent:
        """Put a sealed row at the end of the chain, with its event, in one call.

        Idempotent by `audit_id` while that row is in the store: it is returned as it stands.
        Raises `VersionConflict` when the chain does not end at `row.seq - 1`: seal it anew.
        """
        ...

    def audit_rows(self, after_seq: int, limit: int) -> list[AuditEvent]:
        """Rows at the places `after_seq + 1` to `after_seq + limit`, without those that are absent."""
        ...

    def trim_audit(self, rows: Sequence[AuditEvent]) -> None:
        """Take the oldest rows out of the store; the last of them becomes `trimmed_seq`."""
        ...


class DocStore(Protocol):
    """Versioned documents: runs, decisions, versions, alerts, jobs, settings of agents, …"""

    def put[T](
        self,
        kind: Kind[T],
        key: str,
        value: T,
        *,
        at_ms: int,
        expected_version: int | None = None,
        event: Event | None = None,
        request_id: str = "",
        remembered_s: int = MONEY_REQUEST_TTL_S,
    ) -> Doc[T]:
        """Store a document and its event in one call.

        `expected_version` 0: must not exist yet; n: must be at n; None: whatever is there is
        replaced. Raises `VersionConflict`. `at_ms` is the sort time of the kind's index. A repeat of
        `request_id` is answered as the first call was, for `remembered_s`.
        """
        ...

    def get[T](self, kind: Kind[T], key: str) -> Doc[T] | None: ...

    def keys_beyond[T](self, kind: Kind[T], kept: int, *, limit: int = 200) -> list[str]:
        """Keys of documents that are not among the newest `kept`, newest first, without their rows."""
        ...

    def list[T](
        self,
        kind: Kind[T],
        *,
        start_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = LIST_LIMIT,
    ) -> list[Doc[T]]:
        """Newest first by `at_ms`, then by key downwards; `start_ms <= at_ms < before_ms`."""
        ...

    def delete[T](self, kind: Kind[T], key: str) -> None:
        """Remove a document; removing what is absent succeeds."""
        ...


class VersionStore(Protocol):
    """The one pointer to the active version of an agent: a field of its document."""

    def flip_version(
        self,
        before: Doc[Agent],
        after: Agent,
        gate: Gate,
        *,
        moves: Sequence[VersionMove] = (),
        request_id: str,
        event: Event,
    ) -> Doc[Agent]:
        """Store `after`, which names the active version, and the versions of `moves`, all or none, if
        the gate still stands.

        Raises `VersionConflict` when the agent moved past `before.version`, when the evaluation was
        changed or is gone, when a newer one of the same version and pair was stored, or when a
        moving version is not where it was: judge again. Raises `IllegalTransition` for an evaluation
        that is no pass of this version on this pair and dataset, for going back to a version whose
        record does not name this evaluation, and for a move that `desk.learning.versions` has not.
        """
        ...


class OnceStore(Protocol):
    """Requests that must happen once, whichever process they reach."""

    def begin_request(
        self, name: str, fingerprint: str, *, claim: str, now_ms: int, lease_ms: int, kept_ms: int
    ) -> Begun:
        """Claim a request for whoever gives this `claim`, or say why it is not to be carried out.

        A mark in flight holds for `lease_ms`: then its owner counts as dead and another claim takes
        the request over. An answer is given again for `kept_ms` after it was stored. `now_ms` is
        wall time: the clocks of the processes that share a store must agree to well below
        `lease_ms`.
        """
        ...

    def finish_request(
        self, name: str, *, claim: str, now_ms: int, kept_ms: int, answer: bytes
    ) -> bool:
        """Keep the answer, or with an empty one forget the request, so that it may come again.

        False, and nothing changes, when the claim is no longer the one in flight.
        """
        ...


class TurnStore(Protocol):
    """Turns at the venue, shared by every process behind one address."""

    def ask_turn(
        self,
        address: str,
        lane: str,
        taker: str,
        *,
        priority: int,
        spacing_ms: float,
        now_ms: float | None = None,
    ) -> float:
        """Return 0.0 when this turn of the lane is the taker's, else the ms after which to ask again.

        Turns of a lane lie `spacing_ms` apart, after a taker that came back late down to 0.95 of
        that. Among those that wait the lowest
        `priority` (0 to 9) comes first, then who has waited longest; a taker stands in the queue
        once. One that does not come back within 2 s of the time it was told has lost its place.
        `now_ms` is for tests: left out, the store's own clock counts. Nothing is remembered for a
        repeat: a turn whose answer was lost is lost.
        """
        ...

    def leave_turns(self, lane: str, taker: str) -> None:
        """Wait no longer; leaving where one does not stand succeeds."""
        ...

    def hinder_turns(
        self,
        address: str,
        *,
        slow_ms: float = 0.0,
        hold_ms: float = 0.0,
        now_ms: float | None = None,
    ) -> None:
        """Half the pace of every lane of an address for `slow_ms`, no turn at all for `hold_ms`.

        Each at most 60 s; what was noted before and lasts longer stays.
        """
        ...


class EventStore(Protocol):
    def emit(self, event: Event) -> str:
        """Append an event and return its entry id."""
        ...

    def read_events(
        self, after: Mapping[Stream, str], *, limit: int = 500, block_ms: int | None = None
    ) -> list[Event]:
        """Events after the given entry ids (`"0-0"` from the start), per stream oldest first.

        At most `limit` per stream. Streams left out are not read. `block_ms` waits for the first
        one, at most 25 s; None does not wait.
        """
        ...

    def last_event_ids(self) -> dict[Stream, str]: ...

    def trim_events(self, stream: Stream, keep: int) -> None:
        """Drop all but the newest `keep` events."""
        ...

    def record(self, samples: Sequence[Sample]) -> None:
        """Append metric samples; best effort: samples that cannot be stored are logged and dropped."""
        ...

    def samples(self, name: str, *, start_ms: int, end_ms: int, limit: int = 5000) -> list[Sample]:
        """Newest `limit` samples with `start_ms <= recorded_at_ms < end_ms`, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesAfter:
    """What has become of a series since some of its candles were read."""

    origin: str
    """Of this life of the series: another one after all of it was dropped. Empty where it is not known."""
    revision: int
    """Counts changes of the series."""
    earliest_ms: int
    latest_ms: int
    altered_revision: int
    """That of the newest change of the held chunks that was more than an append; 0 for none."""
    candles: Candles
    """Stored ones from the last held open time on, that one included; at most `READ_CHUNKS` chunks."""


class CandleStore(Protocol):
    """Hot candles. `desk.store.history` keeps all of them in Parquet."""

    def write_candles(self, pair: Pair, interval: Interval, candles: Candles) -> int:
        """Upsert by open time (idempotent); returns how many open times were new.

        Sent in calls of at most 100 rows. Rows must be closed, aligned and finite: the caller
        passed them through `desk.market.integrity`. Raises `ValueError` for an open price of 0 and
        stores nothing of the batch.
        """
        ...

    def read_candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Stored candles with `start_ms <= open_ms < end_ms`, oldest first."""
        ...

    def last_candles(self, pair: Pair, interval: Interval, count: int) -> Candles:
        """The newest `count` stored candles, oldest first."""
        ...

    def candles_after(
        self, pair: Pair, interval: Interval, first_ms: int, last_ms: int
    ) -> CandlesAfter | None:
        """What is newer than candles that are held, and whether those are as they were.

        Held are those with `first_ms <= open_ms <= last_ms`. None for an empty series.
        """
        ...

    def candle_bounds(self, pair: Pair, interval: Interval) -> tuple[int, int, int] | None:
        """(earliest open_ms, latest open_ms, count), or None for an empty series."""
        ...

    def drop_candles(
        self, pair: Pair, interval: Interval, before_ms: int, *, expected: int | None = None
    ) -> int:
        """Forget hot candles older than `before_ms` (whole chunks); returns how many.

        With `expected`, none unless exactly so many are there: others came after they were counted.
        """
        ...


class Store(
    LeaseStore,
    OrderStore,
    DocStore,
    AuditStore,
    VersionStore,
    OnceStore,
    TurnStore,
    EventStore,
    CandleStore,
    Protocol,
):
    """The whole store."""

    def glance(
        self,
        account: str,
        wanted: Sequence[Wanted] = (),
        *,
        order_id: str = "",
        listed: Sequence[Listed] = (),
        held: Held | None = None,
    ) -> Glance:
        """What `order`, `ledger`, `active_orders`, `kill_reason`, `get`, `list` and `candles_after`
        answer, in one round trip.

        In that order: what is committed against the ledger's version was read after it.
        """
        ...

    def ping(self) -> None: ...

    def durability(self) -> dict[str, str]:
        """`appendonly`, `appendfsync`, `maxmemory-policy`, `role`, `version`, `wait_aof`.

        As the server reports them; `unknown` where it hides its settings.
        """
        ...

    def close(self) -> None: ...
