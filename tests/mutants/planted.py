"""Faults planted on purpose in the core of orders, ledger and store: the tests must notice each.

A mutant is a replacement of text that occurs exactly once in a file. Some are also planted together
with the edit that takes away the layer above, which would hide them. The server-side functions have
mutants of their own in `tests/contracts/test_store_sequences.py`.
"""

from dataclasses import dataclass

ORDERS = "desk/trading/orders.py"
LEDGER = "desk/trading/ledger.py"
RISK = "desk/trading/risk.py"
RECONCILE = "desk/trading/reconcile.py"
INTENTS = "desk/trading/intents.py"
IDS = "desk/ids.py"
MEMORY = "desk/store/memory_money.py"
STATE = "desk/store/memory_state.py"
EXECUTOR = "actors/order_executor.py"
ROWS = "actors/order_rows.py"
TALK = "actors/venue_talk.py"
FILLS = "actors/fill_books.py"
LEDGER_ACTOR = "actors/risk_ledger.py"
RECONCILER = "actors/reconciler.py"
PLACEMENT = "actors/placement.py"
CLOSING = "actors/closing.py"
ERRORS = "desk/venues/bingx_errors.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault: where, what is replaced by what, and what it breaks."""

    name: str
    path: str
    old: str
    new: str
    breaks: str


PLANTED = (
    # --- the order machine ----------------------------------------------------------------------
    Mutant(
        "timeout_is_reject",
        ORDERS,
        "    unknown = replace(order, state=OrderState.UNKNOWN, reason=event.reason)\n"
        "    return unknown, [_look_up(order)]",
        "    unknown = replace(order, state=OrderState.REJECTED, reason=event.reason)\n"
        "    return unknown, []",
        "a timeout counts as a refusal",
    ),
    Mutant("one_vote_is_proof", ORDERS, "MIN_VOTES = 3", "MIN_VOTES = 1", "votes"),
    Mutant(
        "no_time_bound",
        ORDERS,
        "FINAL_AFTER_MS = RECV_WINDOW_MS + VISIBILITY_LAG_MS + CLOCK_SKEW_MS",
        "FINAL_AFTER_MS = 0",
        "the bound of not-found",
    ),
    Mutant(
        "bound_without_window",
        ORDERS,
        "FINAL_AFTER_MS = RECV_WINDOW_MS + VISIBILITY_LAG_MS + CLOCK_SKEW_MS",
        "FINAL_AFTER_MS = VISIBILITY_LAG_MS + CLOCK_SKEW_MS",
        "the receive window",
    ),
    Mutant(
        "bound_without_lag",
        ORDERS,
        "FINAL_AFTER_MS = RECV_WINDOW_MS + VISIBILITY_LAG_MS + CLOCK_SKEW_MS",
        "FINAL_AFTER_MS = RECV_WINDOW_MS + CLOCK_SKEW_MS",
        "the visibility lag",
    ),
    Mutant(
        "bound_without_skew",
        ORDERS,
        "FINAL_AFTER_MS = RECV_WINDOW_MS + VISIBILITY_LAG_MS + CLOCK_SKEW_MS",
        "FINAL_AFTER_MS = RECV_WINDOW_MS + VISIBILITY_LAG_MS",
        "the clock skew",
    ),
    Mutant(
        "votes_need_no_spacing",
        ORDERS,
        "VOTE_SPACING_MS = 1_000",
        "VOTE_SPACING_MS = 0",
        "the spacing of votes",
    ),
    Mutant(
        "votes_survive_a_resend",
        ORDERS,
        "        not_found_votes=0,\n        last_vote_wall_ms=0,\n",
        "",
        "votes of an earlier attempt count for the next",
    ),
    Mutant(
        "endless_attempts", ORDERS, "MAX_ATTEMPTS = 3", "MAX_ATTEMPTS = 99", "attempts per decision"
    ),
    Mutant(
        "resend_despite_evidence",
        ORDERS,
        '    unknown = replace(order, state=OrderState.UNKNOWN, reason="venue_evidence", **changes)\n',
        '    if order.state is OrderState.INTENT:\n        return order, []\n    unknown = replace(order, state=OrderState.UNKNOWN, reason="venue_evidence", **changes)\n',
        "evidence does not cancel a pending resend",
    ),
    Mutant(
        "cancelled_before_its_fills",
        ORDERS,
        "    if seen.filled_quantity > order.filled_quantity:\n        missing",
        "    if seen.filled_quantity > order.filled_quantity and seen.status is VenueOrderStatus.OPEN:\n        missing",
        "an order ends before its fills are booked",
    ),
    Mutant(
        "ended_filled_is_ignored",
        ORDERS,
        "    if seen.filled_quantity > order.filled_quantity:\n        reopened",
        "    if False:\n        reopened",
        "a late fill after the end is ignored",
    ),
    Mutant(
        "ended_live_is_ignored",
        ORDERS,
        "    if is_live and order.state is not OrderState.FILLED:",
        "    if False:",
        "an order that lives on after its end is ignored",
    ),
    Mutant(
        "denied_is_ignored",
        ORDERS,
        "    if order.state is OrderState.REJECTED and same:",
        "    if order.state in (OrderState.REJECTED, OrderState.NOT_PLACED):",
        "an order that was denied and is there is ignored",
    ),
    Mutant(
        "late_fill_is_dropped",
        ORDERS,
        "        return _fill_out_of_place(order, booked)",
        "        return order, []",
        "a fill after the end is booked but not on the order",
    ),
    Mutant(
        "first_fill_is_all",
        ORDERS,
        "    if booked.filled_quantity == order.quantity:",
        "    if booked.filled_quantity:",
        "a partial fill counts as all",
    ),
    Mutant(
        "fill_replaces_the_sum",
        ORDERS,
        "    total = order.filled_quantity + fill.quantity",
        "    total = fill.quantity",
        "fills do not add up",
    ),
    Mutant(
        "fees_are_forgotten",
        ORDERS,
        "        fees=order.fees + fill.fee,",
        "        fees=fill.fee,",
        "fees of an order do not add up",
    ),
    Mutant(
        "cancelled_forgets_who_asked",
        ORDERS,
        "    asked_for = order.reason if order.state is OrderState.CANCELLING else order.cancel_reason",
        '    asked_for = ""',
        "the reason of a cancel",
    ),
    Mutant(
        "cancel_is_believed",
        ORDERS,
        "        return replace(order, state=OrderState.CANCELLING, reason=event.reason), [cancel]",
        "        return replace(order, state=OrderState.CANCELLED, reason=event.reason), [cancel]",
        "a cancel counts as done when it was asked for",
    ),
    Mutant(
        "never_quarantined",
        ORDERS,
        "    return order.state is OrderState.UNKNOWN and (\n",
        "    return False and (\n",
        "an order unknown for ever raises no alarm",
    ),
    Mutant(
        "quarantine_forgets_why",
        ORDERS,
        "    return replace(order, state=OrderState.QUARANTINED), [alert]",
        '    return replace(order, state=OrderState.QUARANTINED, reason="late"), [alert]',
        "a quarantined order loses what the venue said of it",
    ),
    Mutant(
        "terminal_may_be_overwritten",
        ORDERS,
        "    OrderState.CANCELLED: frozenset({OrderState.UNKNOWN}),",
        "    OrderState.CANCELLED: frozenset(OrderState),",
        "an end may be overwritten",
    ),
    Mutant(
        "seen_once_may_be_absent",
        ORDERS,
        "        and not order.venue_order_id\n",
        "",
        "an acknowledged order may be proved absent",
    ),
    Mutant(
        "second_source_is_not_asked",
        ORDERS,
        "        and absent_in_second_source\n",
        "",
        "one source suffices",
    ),
    Mutant(
        "position_proves_nothing",
        ORDERS,
        "        and (is_position_explained or is_patient)\n",
        "",
        "an unexplained position is no reason to wait",
    ),
    # --- ids ------------------------------------------------------------------------------------
    Mutant(
        "leg_is_not_in_the_id",
        IDS,
        "_digest(account, run_id, decision_id, leg)[:24]",
        "_digest(account, run_id, decision_id)[:24]",
        "both legs of a flip have one id",
    ),
    # --- the books ------------------------------------------------------------------------------
    Mutant(
        "fee_is_not_paid",
        LEDGER,
        "        cash=ledger.cash + realized - fill.fee,",
        "        cash=ledger.cash + realized,",
        "fees do not reach the cash",
    ),
    Mutant(
        "sell_counts_as_buy",
        LEDGER,
        "        quantity=fill.side.sign * fill.quantity,",
        "        quantity=fill.quantity,",
        "the side of a fill",
    ),
    Mutant(
        "realized_twice",
        LEDGER,
        "        realized_pnl=ledger.realized_pnl + realized,",
        "        realized_pnl=ledger.realized_pnl + realized + realized,",
        "realised PnL",
    ),
    Mutant(
        "short_gains_like_long",
        LEDGER,
        "* (1 if held.quantity > 0 else -1)\n    if total == 0",
        "* 1\n    if total == 0",
        "PnL of a short",
    ),
    Mutant(
        "adjustment_is_free",
        LEDGER,
        "        cash=ledger.cash + realized,\n        external",
        "        cash=ledger.cash,\n        external",
        "an adjustment's PnL",
    ),
    Mutant(
        "adjustments_are_not_counted",
        LEDGER,
        "        adjustments=ledger.adjustments + 1,\n",
        "",
        "a second equal drift is taken for the first",
    ),
    # --- risk -----------------------------------------------------------------------------------
    Mutant(
        "open_orders_need_no_room",
        RISK,
        "            plain += order.remaining_quantity",
        "            plain += 0",
        "what is under way does not count against limits",
    ),
    Mutant(
        "stale_books_are_good_enough",
        RISK,
        "        or _stale(ledger, now_ms, max_mark_age_ms)\n",
        "",
        "limits are judged on old marks",
    ),
    Mutant(
        "total_exposure_is_not_checked",
        RISK,
        '        _above("max_total_exposure", total, policy.max_total_exposure * equity, scope)\n        or ',
        "        ",
        "the account's total exposure",
    ),
    Mutant(
        "entries_pass_every_limit",
        RISK,
        "    if intent.reduce_only:\n        return Approved",
        "    if True:\n        return Approved",
        "limits are not checked",
    ),
    # --- reconcile ------------------------------------------------------------------------------
    Mutant(
        "drift_is_not_seen",
        RECONCILE,
        "    if difference == 0 or abs(difference) < dust:",
        "    if True:",
        "position drift",
    ),
    Mutant(
        "drift_is_judged_in_doubt",
        RECONCILE,
        "    return unresolved | unbooked",
        "    return set()",
        "a position is judged while an order of it is unknown",
    ),
    Mutant(
        "unbooked_fills_are_drift",
        RECONCILE,
        "    return unresolved | unbooked",
        "    return unresolved",
        "a fill on its way is taken for a drift",
    ),
    Mutant(
        "missing_orders_are_not_looked_up",
        RECONCILE,
        "    if order.state in _IN_DOUBT or order.state in _RESTING:",
        "    if False:",
        "an order that the lists lack is left alone",
    ),
    Mutant(
        "foreign_orders_are_silent",
        RECONCILE,
        "        return [ReportForeignOrder(report=report)] if _is_open(report) else []",
        "        return []",
        "a foreign order raises no alert",
    ),
    Mutant(
        "first_glance_is_booked",
        RECONCILER,
        "        if key and key not in self._suspected:",
        "        if False:",
        "a drift is booked on one glance",
    ),
    Mutant(
        "reconciler_sleeps",
        RECONCILER,
        "        if ledger is not None:\n            full",
        "        if False:\n            full",
        "no reconciliation on schedule",
    ),
    Mutant(
        "adjusts_what_has_moved",
        LEDGER_ACTOR,
        "            if held != ask.ours:",
        "            if False:",
        "a drift is booked on books that moved on",
    ),
    # --- the shells -----------------------------------------------------------------------------
    Mutant(
        "send_before_persist",
        EXECUTOR,
        "            sending, effects = await self._rows.commit(order, started, within_s=SEND_COMMIT_S)\n            return await self._perform(sending, effects)",
        "            sending, effects = orders.advance(order, started, now_ms=self._clock.now_ms())\n            event = await self._submit(sending)\n            await self._rows.commit(order, started, within_s=SEND_COMMIT_S)\n            return await self._learn(cid, event)",
        "the wire hears before the store",
    ),
    Mutant(
        "blind_resend_after_restart",
        EXECUTOR,
        '            await self._learn(cid, orders.SendUnanswered(reason="restart"))',
        "            await self._learn(cid, await self._submit(order))",
        "what was being sent at a crash is sent again",
    ),
    Mutant(
        "intents_are_forgotten",
        EXECUTOR,
        "        elif order.state is OrderState.INTENT and (first or self._is_stale(order)):\n            await self._send(order)",
        "        elif False:\n            await self._send(order)",
        "an intent of before a crash is never sent",
    ),
    Mutant(
        "unknown_is_not_followed",
        EXECUTOR,
        "        elif order.state in WAITING or order.state is OrderState.CANCELLING:\n            self._follow(cid)",
        "        elif False:\n            self._follow(cid)",
        "an unknown order of before a crash is left alone",
    ),
    Mutant(
        "stale_decisions_are_sent",
        EXECUTOR,
        "        return self._is_stale(order) and not order.reduce_only",
        "        return False",
        "an old decision is sent",
    ),
    Mutant(
        "slow_commit_is_sent",
        EXECUTOR,
        "        if not self._may_send() or wall_ms() - order.sent_wall_ms > SEND_COMMIT_S * 1000:",
        "        if False:",
        "an order leaves long after it was stored",
    ),
    Mutant(
        "refused_is_resent",
        EXECUTOR,
        "            and not refused\n",
        "",
        "a likely refusal is sent again",
    ),
    Mutant(
        "resend_beside_a_strange_position",
        EXECUTOR,
        "            is_explained\n            and not refused",
        "            not refused",
        "an order is sent again although the position moved",
    ),
    Mutant(
        "duplicate_may_be_absent",
        EXECUTOR,
        "        if order.reason == DUPLICATE_ID:\n            return order  # the venue itself said that it has the order\n",
        "",
        "an id in use counts as absent",
    ),
    Mutant(
        "duplicate_is_reject",
        TALK,
        "        except VenueRejected as refused:",
        "        except (VenueRejected, DuplicateClientId) as refused:",
        "an id in use counts as refused",
    ),
    Mutant(
        "silence_is_absence",
        TALK,
        "        except VenueUnavailable:\n            return False\n        return all(",
        "        except VenueUnavailable:\n            return True\n        return all(",
        "a second source that is silent counts as absence",
    ),
    Mutant(
        "absent_elsewhere_by_default",
        TALK,
        "        return all(row.client_order_id != order.client_order_id for row in (*listed, *past))",
        "        return True",
        "the second source is not read",
    ),
    Mutant(
        "fills_are_not_fetched",
        EXECUTOR,
        "        for fill in executions:\n            booked",
        "        for fill in executions[:1]:\n            booked",
        "only the first fill is booked",
    ),
    Mutant(
        "entry_follows_an_unknown_exit",
        PLACEMENT,
        "        if leg.leg is Leg.EXIT and order.state not in UNDER_WAY:",
        "        if False:",
        "an entry follows an exit that is not known",
    ),
    Mutant(
        "close_counts_no_exits",
        CLOSING,
        "            (order.remaining_quantity for order in exits), Decimal(0)\n        )\n        if left <= 0 or (",
        "            (Decimal(0) for order in exits), Decimal(0)\n        )\n        if left <= 0 or (",
        "a position is closed while it is being closed",
    ),
    Mutant(
        "close_may_open",
        INTENTS,
        "        quantity=rounded,\n        reduce_only=True,",
        "        quantity=rounded,\n        reduce_only=False,",
        "a close is not reduce-only",
    ),
    # --- the store in memory --------------------------------------------------------------------
    Mutant(
        "close_again_is_the_same",
        CLOSING,
        "if order.reduce_only and order.state.is_terminal]",
        "if order.reduce_only and order.state.is_terminal and not order.filled_quantity]",
        "what a late fill left after a close is never closed",
    ),
    Mutant(
        "memory_order_before_its_claim",
        STATE,
        "        if request_id and request_id not in self.answers:",
        "        if False:",
        "an order is created before the claim of its decision",
    ),
    Mutant(
        "memory_no_readings",
        MEMORY,
        "        if version != seen.version:\n            raise VersionConflict",
        "        if version < 0:\n            raise VersionConflict",
        "orders are created on limits that were edited",
    ),
    Mutant(
        "memory_no_fill_dedupe",
        MEMORY,
        "                if (account, fill.fill_id) in self._state.fills:\n                    return None\n",
        "",
        "a fill id is booked twice",
    ),
    Mutant(
        "memory_no_fence",
        STATE,
        "        if fence is not None and self.epochs.get(fence.role, 0) != fence.epoch:",
        "        if False and fence is not None:",
        "an old epoch writes",
    ),
    Mutant(
        "memory_no_version",
        MEMORY,
        "        if found is None or found.version != before.version:",
        "        if found is None:",
        "an order row is overwritten",
    ),
    Mutant(
        "memory_no_ledger_version",
        MEMORY,
        "    if found == 0 or found != expected:",
        "    if found == 0:",
        "limits are checked on books that moved",
    ),
    Mutant(
        "memory_no_table",
        MEMORY,
        "        if after.state not in TRANSITIONS[OrderState(found.state)]:",
        "        if False:",
        "any move is stored",
    ),
    Mutant(
        "memory_kill_is_read_before",
        MEMORY,
        "        if after.state is OrderState.SENDING and found.state != after.state:\n",
        "        if False:\n",
        "the kill flag does not stop what is about to be sent",
    ),
    Mutant(
        "memory_kill_of_an_agent_is_not_asked_for",
        MEMORY,
        "                if starts_entry(before, after):\n",
        "                if False:\n",
        "the switch of an agent does not stop what is about to be sent",
    ),
    Mutant(
        "memory_created_twice",
        MEMORY,
        "            if answer is None and order.client_order_id in self._state.orders:\n                answer = (self._state.orders[order.client_order_id].row,)\n",
        "",
        "one decision makes two rows",
    ),
    Mutant(
        "memory_reservation_stays",
        MEMORY,
        '        amount = "" if order.state.is_terminal else reservation(order)',
        "        amount = reservation(order)",
        "a reservation outlives its order",
    ),
    Mutant(
        "memory_reservation_leaves_early",
        MEMORY,
        '        amount = "" if order.state.is_terminal else reservation(order)',
        '        amount = reservation(order) if order.state is OrderState.INTENT else ""',
        "a reservation is released at sending",
    ),
    Mutant(
        "memory_event_is_lost",
        STATE,
        "        if event is not None:\n            self.append(event)",
        "        if False:\n            self.append(event)",
        "a change without its event",
    ),
    Mutant(
        "memory_request_is_forgotten",
        STATE,
        "        if request_id:\n            self.answers[request_id] = (what, answer)",
        "        if False:\n            self.answers[request_id] = (what, answer)",
        "a repeat has a second effect",
    ),
)

SHIELDS = {
    "the store's table": Mutant(
        "",
        MEMORY,
        "        if after.state not in TRANSITIONS[OrderState(found.state)]:",
        "        if False:",
        "",
    ),
    "the store's fill ids": Mutant(
        "",
        MEMORY,
        "                if (account, fill.fill_id) in self._state.fills:\n                    return None\n",
        "",
        "",
    ),
}
"""Layers that can be taken away by an edit; the reconciler is switched off by an argument."""

PAIRS = (
    ("late_fill_is_dropped", "the store's table"),
    ("terminal_may_be_overwritten", "the store's table"),
    ("memory_no_fence", "the store's table"),
    ("memory_no_version", "the store's table"),
    ("fills_are_not_fetched", "the store's fill ids"),
    ("memory_request_is_forgotten", "the store's fill ids"),
)
"""Mutants together with a shield taken away: the tests below the shield must notice them still."""
