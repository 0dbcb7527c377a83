"""Leases, orders, fills, ledgers and kill flags in the Redis-protocol store."""

from collections.abc import Sequence
from dataclasses import replace

from desk.store.answers import accepted, envelope
from desk.store.codec import from_json, to_json
from desk.store.connection import Argument, Connection
from desk.store.port import Event, Fence, Reading
from desk.store.rows import check_same_order, reservation, starts_entry
from desk.trading.ledger import Adjustment, Ledger
from desk.trading.orders import Fill, Order, OrderState


class ValkeyLeases:
    """Ownership of roles by epoch."""

    _connection: Connection

    def acquire_lease(self, role: str, owner: str, ttl_ms: int) -> Fence:
        answer = self._connection.change("lease_acquire", *envelope(), role, owner, ttl_ms)
        return Fence(role=role, epoch=int((accepted(answer) or [])[0]))

    def renew_lease(self, fence: Fence, ttl_ms: int) -> None:
        answer = self._connection.change("lease_renew", *envelope(fence=fence), fence.role, ttl_ms)
        accepted(answer, fence=fence)


class ValkeyOrders:
    """Order rows with their indexes; every change goes through one server-side function."""

    _connection: Connection

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
        first = replace(order, version=1)
        answer = self._connection.change(
            "order_intent",
            *envelope(request_id=request_id, fence=fence, event=event),
            first.client_order_id,
            first.account,
            first.trade_id,
            first.state.value,
            first.created_ms,
            int(first.reduce_only),
            reservation(first),
            ledger.version,
            to_json(Order, first),
            after,
            *(part for seen in readings for part in (f"{seen.kind}/{seen.key}", seen.version)),
        )
        expected = {f"led:{order.account}": ledger.version}
        expected |= {f"doc:{seen.kind}/{seen.key}": seen.version for seen in readings}
        expected |= {f"req:{after}": 1}
        [row] = accepted(answer, fence=fence, expected=expected) or []
        return from_json(Order, row)

    def move_order(
        self, before: Order, after: Order, *, fence: Fence, request_id: str, event: Event
    ) -> Order:
        answer = self._connection.change(
            "order_transition",
            *envelope(request_id=request_id, fence=fence, event=event),
            *_move(before, after),
            before.run_id if starts_entry(before, after) else "",
        )
        expected = {f"ord:{before.client_order_id}": before.version}
        [row] = accepted(answer, fence=fence, expected=expected) or []
        return from_json(Order, row)

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
        answer = self._connection.change(
            "fill_apply",
            *envelope(request_id=request_id, fence=fence, event=event),
            *_move(before, after),
            before.account,
            fill.fill_id,
            fill.filled_ms,
            to_json(Fill, fill),
            ledger_before.version,
            to_json(Ledger, replace(ledger_after, version=ledger_before.version + 1)),
        )
        expected = {
            f"ord:{before.client_order_id}": before.version,
            f"led:{before.account}": ledger_before.version,
        }
        rows = accepted(answer, fence=fence, expected=expected)
        return None if rows is None else (from_json(Order, rows[0]), from_json(Ledger, rows[1]))

    def order(self, client_order_id: str) -> Order | None:
        row = self._connection.run(
            lambda: self._connection.money.hget(f"ord:{client_order_id}", "row")
        )
        return None if row is None else from_json(Order, row)

    def active_orders(self, account: str) -> list[Order]:
        return self._rows(f"ordx:open:{account}")

    def orders_of_trade(self, trade_id: str) -> list[Order]:
        return self._rows(f"ordx:trade:{trade_id}")

    def trade_ids(
        self, *, account: str | None = None, before_ms: int | None = None, limit: int = 200
    ) -> list[str]:
        index = "ordx:trades" if account is None else f"ordx:trades:{account}"
        highest = "+inf" if before_ms is None else f"({before_ms}"
        found = self._connection.run(
            lambda: self._connection.bulk.zrevrangebyscore(
                index, highest, "-inf", start=0, num=limit
            )
        )
        return [member.decode() for member in found]

    def fills_of_order(self, client_order_id: str) -> list[Fill]:
        rows = self._connection.read("rows_of", f"ordx:fills:{client_order_id}", "fill:")
        return [from_json(Fill, row) for row in rows]

    def reservations(self, account: str) -> dict[str, str]:
        found = self._connection.run(lambda: self._connection.money.hgetall(f"res:{account}"))
        return {cid.decode(): amount.decode() for cid, amount in found.items()}

    def _rows(self, index: str) -> list[Order]:
        return [from_json(Order, row) for row in self._connection.read("rows_of", index, "ord:")]


class ValkeyLedgers:
    """The books of each account, and the flags that stop entries."""

    _connection: Connection

    def ledger(self, account: str) -> Ledger | None:
        version, row = self._connection.run(
            lambda: self._connection.money.hmget(f"led:{account}", "v", "row")
        )
        return None if version is None else ledger_of(version, row)

    def create_ledger(self, ledger: Ledger, *, fence: Fence, event: Event) -> Ledger:
        answer = self._connection.change(
            "ledger_create",
            *envelope(fence=fence, event=event),
            ledger.account,
            to_json(Ledger, replace(ledger, version=1)),
        )
        version, row = accepted(answer, fence=fence) or []
        return ledger_of(version, row)

    def move_ledger(
        self, before: Ledger, after: Ledger, *, fence: Fence, request_id: str, event: Event
    ) -> Ledger:
        answer = self._connection.change(
            "ledger_move",
            *envelope(request_id=request_id, fence=fence, event=event),
            before.account,
            before.version,
            to_json(Ledger, replace(after, version=before.version + 1)),
        )
        expected = {f"led:{before.account}": before.version}
        version, row = accepted(answer, fence=fence, expected=expected) or []
        return ledger_of(version, row)

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
        answer = self._connection.change(
            "recon_adjust",
            *envelope(request_id=request_id, fence=fence, event=event),
            f"{before.account}:{adjustment.adjustment_id}",
            before.account,
            adjustment.at_ms,
            to_json(Adjustment, adjustment),
            before.version,
            to_json(Ledger, replace(after, version=before.version + 1)),
        )
        expected = {f"led:{before.account}": before.version}
        booked = accepted(answer, fence=fence, expected=expected)
        return None if booked is None else ledger_of(*booked)

    def adjustments(self, account: str) -> list[Adjustment]:
        rows = self._connection.read("rows_of", f"ordx:adjustments:{account}", "adj:")
        return [from_json(Adjustment, row) for row in rows]

    def set_kill(self, scope: str, *, on: bool, reason: str, event: Event) -> None:
        accepted(
            self._connection.change("kill_set", *envelope(event=event), scope, int(on), reason)
        )

    def kill_reason(self, account: str) -> str | None:
        def ask() -> list[bytes | None]:
            pipeline = self._connection.money.pipeline(transaction=False)
            for scope in (account, "all"):
                pipeline.hget(f"risk:kill:{scope}", "reason")
            return pipeline.execute()

        reasons = self._connection.run(ask)
        return next((reason.decode() for reason in reasons if reason is not None), None)


def _move(before: Order, after: Order) -> list[Argument]:
    check_same_order(before, after)
    terminal = OrderState(after.state).is_terminal
    return [
        before.client_order_id,
        before.version,
        after.state.value,
        "" if terminal else reservation(after),
        to_json(Order, replace(after, version=before.version + 1)),
    ]


def ledger_of(version: bytes, row: bytes) -> Ledger:
    """A ledger as the server keeps it."""
    # Reserving moves the version without rewriting the row.
    ledger = from_json(Ledger, row)
    return ledger if ledger.version == int(version) else replace(ledger, version=int(version))
