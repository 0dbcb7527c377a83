"""Leases, orders, fills, ledgers and kill flags in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from desk.errors import IllegalTransition, LimitReached, VersionConflict
from desk.runs import Agent, Run
from desk.store import kinds
from desk.store.codec import from_json, to_json
from desk.store.memory_state import MemoryState, OrderRow
from desk.store.port import Event, Fence, Reading
from desk.store.rows import check_same_order, reservation, starts_entry
from desk.trading.ledger import Adjustment, Ledger
from desk.trading.orders import TRANSITIONS, Fill, Order, OrderState


class MemoryLeases:
    """Ownership of roles by epoch."""

    _state: MemoryState

    def acquire_lease(self, role: str, owner: str, ttl_ms: int) -> Fence:
        with self._state.lock:
            self._state.epochs[role] = self._state.epochs.get(role, 0) + 1
            return Fence(role=role, epoch=self._state.epochs[role])

    def renew_lease(self, fence: Fence, ttl_ms: int) -> None:
        with self._state.lock:
            self._state.stored_answer("lease_renew", "", fence)


class MemoryOrders:
    """Order rows; each method is the twin of one server-side function."""

    _state: MemoryState

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
        what, row = (
            f"order_intent {order.client_order_id}",
            to_json(Order, replace(order, version=1)),
        )
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id, fence)
            if answer is None and order.client_order_id in self._state.orders:
                answer = (self._state.orders[order.client_order_id].row,)
            if answer is None:
                if order.state is not OrderState.INTENT:
                    raise IllegalTransition("none", f"move to {order.state.value}")
                self._state.expect_done(after)
                _refuse_killed(self._state, order.account, reduce_only=order.reduce_only)
                ledger_v = _expect_ledger(self._state, order.account, ledger.version)
                _expect_readings(self._state, readings)
                self._insert(order, row)
                _bump_ledger(self._state, order.account, ledger_v + 1)
                answer = self._state.finish(what, request_id, event, row)
        return from_json(Order, answer[0])

    def move_order(
        self, before: Order, after: Order, *, fence: Fence, request_id: str, event: Event
    ) -> Order:
        check_same_order(before, after)
        what = f"order_transition {before.client_order_id}"
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id, fence)
            if answer is None:
                self._expect_move(before, after)
                if starts_entry(before, after):
                    _refuse_killed_agent(self._state, before.run_id)
                row = self._move(before, after)
                answer = self._state.finish(what, request_id, event, row)
        return from_json(Order, answer[0])

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
        check_same_order(before, after)
        what, account = f"fill_apply {before.client_order_id}", before.account
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id, fence)
            if answer is None:
                if (account, fill.fill_id) in self._state.fills:
                    return None
                self._expect_move(before, after)
                version = _expect_ledger(self._state, account, ledger_before.version) + 1
                fill_row = to_json(Fill, fill)
                self._state.fills[account, fill.fill_id] = fill_row
                entry = (fill.filled_ms, fill.fill_id, fill_row)
                self._state.fills_of[before.client_order_id].append(entry)
                row = self._move(before, after)
                ledger_row = to_json(Ledger, replace(ledger_after, version=version))
                self._state.ledgers[account] = (version, ledger_row)
                answer = self._state.finish(what, request_id, event, row, ledger_row)
        return from_json(Order, answer[0]), from_json(Ledger, answer[1])

    def order(self, client_order_id: str) -> Order | None:
        with self._state.lock:
            found = self._state.orders.get(client_order_id)
            return None if found is None else from_json(Order, found.row)

    def active_orders(self, account: str) -> list[Order]:
        with self._state.lock:
            return self._oldest_first(
                cid
                for cid, found in self._state.orders.items()
                if found.account == account and not OrderState(found.state).is_terminal
            )

    def orders_of_trade(self, trade_id: str) -> list[Order]:
        with self._state.lock:
            return self._oldest_first(self._state.trades[trade_id])

    def trade_ids(
        self, *, account: str | None = None, before_ms: int | None = None, limit: int = 200
    ) -> list[str]:
        with self._state.lock:
            starts: list[tuple[int, str]] = []
            for trade_id, cids in self._state.trades.items():
                rows = [self._state.orders[cid] for cid in cids]
                of_account = [row for row in rows if account is None or row.account == account]
                if of_account:
                    starts.append((min(row.created_ms for row in of_account), trade_id))
        wanted = [start for start in starts if before_ms is None or start[0] < before_ms]
        return [trade_id for _, trade_id in sorted(wanted, reverse=True)[:limit]]

    def fills_of_order(self, client_order_id: str) -> list[Fill]:
        with self._state.lock:
            rows = sorted(self._state.fills_of[client_order_id])
        return [from_json(Fill, row) for _, _, row in rows]

    def reservations(self, account: str) -> dict[str, str]:
        with self._state.lock:
            return dict(self._state.reserved[account])

    def _insert(self, order: Order, row: bytes) -> None:
        self._state.orders[order.client_order_id] = OrderRow(
            version=1,
            state=order.state.value,
            account=order.account,
            reduce_only=order.reduce_only,
            created_ms=order.created_ms,
            row=row,
        )
        self._state.trades[order.trade_id].add(order.client_order_id)
        self._reserve(order)

    def _expect_move(self, before: Order, after: Order) -> None:
        cid = before.client_order_id
        found = self._state.orders.get(cid)
        if found is None or found.version != before.version:
            raise VersionConflict(f"ord:{cid}", before.version, found.version if found else 0)
        if after.state not in TRANSITIONS[OrderState(found.state)]:
            raise IllegalTransition(found.state, f"move to {after.state.value}")
        if after.state is OrderState.SENDING and found.state != after.state:
            _refuse_killed(self._state, found.account, reduce_only=found.reduce_only)

    def _move(self, before: Order, after: Order) -> bytes:
        found = self._state.orders[before.client_order_id]
        was_terminal = OrderState(found.state).is_terminal
        found.version += 1
        found.state = after.state.value
        found.row = to_json(Order, replace(after, version=found.version))
        self._reserve(after)
        if was_terminal and not after.state.is_terminal:
            version, _ = self._state.ledgers[found.account]
            _bump_ledger(self._state, found.account, version + 1)
        return found.row

    def _reserve(self, order: Order) -> None:
        amount = "" if order.state.is_terminal else reservation(order)
        if amount:
            self._state.reserved[order.account][order.client_order_id] = amount
        else:
            self._state.reserved[order.account].pop(order.client_order_id, None)

    def _oldest_first(self, client_order_ids: Iterable[str]) -> list[Order]:
        orders = [from_json(Order, self._state.orders[cid].row) for cid in client_order_ids]
        return sorted(orders, key=lambda order: (order.created_ms, order.client_order_id))


class MemoryLedgers:
    """The books of each account, and the flags that stop entries."""

    _state: MemoryState

    def ledger(self, account: str) -> Ledger | None:
        with self._state.lock:
            found = self._state.ledgers.get(account)
            return None if found is None else _ledger(*found)

    def create_ledger(self, ledger: Ledger, *, fence: Fence, event: Event) -> Ledger:
        with self._state.lock:
            self._state.stored_answer("ledger_create", "", fence)
            if ledger.account not in self._state.ledgers:
                row = to_json(Ledger, replace(ledger, version=1))
                self._state.ledgers[ledger.account] = (1, row)
                self._state.finish("ledger_create", "", event)
            return _ledger(*self._state.ledgers[ledger.account])

    def move_ledger(
        self, before: Ledger, after: Ledger, *, fence: Fence, request_id: str, event: Event
    ) -> Ledger:
        what = f"ledger_move {before.account}"
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id, fence)
            if answer is None:
                version = _expect_ledger(self._state, before.account, before.version) + 1
                row = to_json(Ledger, replace(after, version=version))
                self._state.ledgers[before.account] = (version, row)
                answer = self._state.finish(what, request_id, event, b"%d" % version, row)
        return _ledger(int(answer[0]), answer[1])

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
        account = before.account
        member = f"{account}:{adjustment.adjustment_id}"
        what = f"recon_adjust {member}"
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id, fence)
            if answer is None:
                if member in self._state.adjusted[account]:
                    return None
                version = _expect_ledger(self._state, account, before.version) + 1
                entry = (adjustment.at_ms, to_json(Adjustment, adjustment))
                self._state.adjusted[account][member] = entry
                row = to_json(Ledger, replace(after, version=version))
                self._state.ledgers[account] = (version, row)
                answer = self._state.finish(what, request_id, event, b"%d" % version, row)
        return _ledger(int(answer[0]), answer[1])

    def adjustments(self, account: str) -> list[Adjustment]:
        with self._state.lock:
            booked = self._state.adjusted[account].items()
            rows = sorted((at_ms, member.encode(), row) for member, (at_ms, row) in booked)
        return [from_json(Adjustment, row) for _, _, row in rows]

    def set_kill(self, scope: str, *, on: bool, reason: str, event: Event) -> None:
        with self._state.lock:
            if on:
                self._state.kills[scope] = reason
            else:
                self._state.kills.pop(scope, None)
            self._state.append(event)

    def kill_reason(self, account: str) -> str | None:
        with self._state.lock:
            return self._state.kills.get(account, self._state.kills.get("all"))


def _expect_ledger(state: MemoryState, account: str, expected: int) -> int:
    found, _ = state.ledgers.get(account, (0, b""))
    if found == 0 or found != expected:
        raise VersionConflict(f"led:{account}", expected, found)
    return found


def _expect_readings(state: MemoryState, readings: Sequence[Reading]) -> None:
    for seen in readings:
        found = state.docs[seen.kind].get(seen.key)
        version = found.version if found else 0
        if version != seen.version:
            raise VersionConflict(f"doc:{seen.kind}/{seen.key}", seen.version, version)


def _bump_ledger(state: MemoryState, account: str, version: int) -> None:
    state.ledgers[account] = (version, state.ledgers[account][1])


def _refuse_killed(state: MemoryState, account: str, *, reduce_only: bool) -> None:
    if not reduce_only and not state.kills.keys().isdisjoint({account, "all"}):
        raise LimitReached("kill_switch")


def _refuse_killed_agent(state: MemoryState, run_id: str) -> None:
    run = state.docs[kinds.RUNS.name].get(run_id)
    if run is None:
        return
    agent = state.docs[kinds.AGENTS.name].get(from_json(Run, run.row).agent_id)
    if agent is not None and from_json(Agent, agent.row).kill_switch:
        raise LimitReached("kill_switch")


def _ledger(version: int, row: bytes) -> Ledger:
    # Reserving moves the version without rewriting the row.
    ledger = from_json(Ledger, row)
    return ledger if ledger.version == version else replace(ledger, version=version)
