"""The life of an order: what may follow what, and what is asked for on the way."""

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import IllegalTransition
from desk.trading import orders
from desk.trading.orders import (
    FINAL_AFTER_MS,
    MIN_VOTES,
    POSITION_IS_FLAT,
    Abandoned,
    CancelAtVenue,
    CancelRequested,
    ExitKind,
    ExitSeen,
    FetchFills,
    FillBooked,
    LookUp,
    NotFoundProved,
    NotFoundVoted,
    Order,
    OrderEvent,
    OrderState,
    Quarantined,
    RaiseAlert,
    SendAccepted,
    SendRefused,
    SendStarted,
    SendUnanswered,
    Submit,
    VenueOrderStatus,
    VenueReported,
    advance,
)
from tests.desk.trading.builders import NOW, WALL, a_fill, a_report, an_order, sending

VOTED = WALL + orders.FINAL_AFTER_MS + 1
S, V = OrderState, VenueOrderStatus


def fills(*quantities: str) -> list[FillBooked]:
    return [
        FillBooked(fill=a_fill(f"f{i}", quantity), realized_pnl=Decimal(0))
        for i, quantity in enumerate(quantities)
    ]


def apply(order: Order, *events: OrderEvent, now_ms: int = NOW) -> Order:
    for event in events:
        order, _ = advance(order, event, now_ms=now_ms)
    return order


def voted_out(state: OrderState = S.UNKNOWN, **changes: object) -> Order:
    return replace(sending(), state=state, not_found_votes=3, last_vote_wall_ms=VOTED, **changes)


EVENTS: list[OrderEvent] = [
    SendStarted(sent_wall_ms=WALL),
    SendAccepted(venue_order_id="77"),
    SendUnanswered(reason="timeout"),
    SendRefused(reason="margin"),
    *(
        VenueReported(order=a_report(status, filled))
        for status in VenueOrderStatus
        for filled in ("0", "0.4", "1")
    ),
    *fills("0.4", "0.6", "1"),
    NotFoundVoted(wall_ms=VOTED),
    NotFoundVoted(wall_ms=VOTED + 5_000),
    NotFoundProved(resend=True, reason="absent"),
    NotFoundProved(resend=False, reason="absent"),
    CancelRequested(reason="operator"),
    Abandoned(reason="stale"),
    Quarantined(),
]


FILLED_IN = defaultdict(
    lambda: ("0", "0.4", "1"),
    {state: ("0",) for state in (S.INTENT, S.SENDING, S.OPEN, S.REJECTED, S.NOT_PLACED)}
    | {S.PARTIAL: ("0.4",), S.FILLED: ("0.4", "1")},
)


def rows() -> list[Order]:
    """Rows of every state with what may be filled in it, young and old."""
    base = [
        replace(
            sending(),
            state=state,
            filled_quantity=Decimal(filled),
            average_price=Decimal(100),
            venue_order_id=venue_id,
            updated_ms=updated_ms,
        )
        for state in OrderState
        for filled in FILLED_IN[state]
        for venue_id in ("", "77")
        for updated_ms in (NOW, NOW - orders.CANCEL_PATIENCE_MS - 1)
    ]
    return [*base, voted_out(), voted_out(S.QUARANTINED), an_order(), voted_out(attempts=3)]


def moves() -> dict[OrderState, set[OrderState]]:
    """Every move that some event makes of some row."""
    seen: defaultdict[OrderState, set[OrderState]] = defaultdict(set)
    for row in rows():
        for event in EVENTS:
            try:
                after, _ = advance(row, event, now_ms=NOW)
            except IllegalTransition:
                continue
            if after is not row:
                seen[row.state].add(after.state)
    return seen


def test_the_machine_makes_exactly_the_moves_of_the_table() -> None:
    assert moves() == {state: set(targets) for state, targets in orders.TRANSITIONS.items()}


def test_a_terminal_row_is_left_only_for_unknown() -> None:
    for state in orders.TERMINAL - {S.FILLED}:
        assert orders.TRANSITIONS[state] == {S.UNKNOWN}
    assert orders.TRANSITIONS[S.FILLED] == {S.FILLED, S.UNKNOWN}


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_any_order_of_events_leaves_a_legal_row(events: list[OrderEvent]) -> None:
    order = an_order()

    for event in events:
        try:
            after, effects = advance(order, event, now_ms=NOW)
        except IllegalTransition:
            continue
        assert after is order or after.state in orders.TRANSITIONS[order.state]
        assert after.filled_quantity >= order.filled_quantity
        assert after.version == order.version
        assert (Submit(client_order_id=order.client_order_id) in effects) == (
            order.state is S.INTENT and after.state is S.SENDING
        )
        order = after

    assert order.attempts <= orders.MAX_ATTEMPTS
    if order.state is S.FILLED:
        assert order.filled_quantity > 0
    if order.state in (S.REJECTED, S.NOT_PLACED):
        assert order.filled_quantity == 0


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_a_fill_is_always_booked(events: list[OrderEvent]) -> None:
    order = an_order()
    booked = Decimal(0)

    for event in events:
        try:
            order, _ = advance(order, event, now_ms=NOW)
        except IllegalTransition:
            assert not isinstance(event, FillBooked)
            continue
        if isinstance(event, FillBooked):
            booked += event.fill.quantity

    assert order.filled_quantity == booked


def test_sending_counts_the_attempt_and_forgets_old_votes() -> None:
    again = an_order(attempts=1, not_found_votes=3, last_vote_wall_ms=WALL - 1, reason="absent")

    order, effects = advance(again, SendStarted(sent_wall_ms=WALL), now_ms=NOW + 5)

    assert (order.state, order.attempts, order.sent_wall_ms) == (S.SENDING, 2, WALL)
    assert (order.not_found_votes, order.last_vote_wall_ms, order.reason) == (0, 0, "")
    assert order.updated_ms == NOW + 5
    assert effects == [Submit(client_order_id=order.client_order_id)]


def test_a_fourth_attempt_is_illegal() -> None:
    with pytest.raises(IllegalTransition, match="3 attempts"):
        advance(an_order(attempts=3), SendStarted(sent_wall_ms=WALL), now_ms=NOW)


@pytest.mark.parametrize("state", sorted(set(OrderState) - {S.INTENT}))
def test_only_an_intent_is_sent(state: OrderState) -> None:
    with pytest.raises(IllegalTransition):
        advance(an_order(state=state), SendStarted(sent_wall_ms=WALL), now_ms=NOW)


def test_an_acknowledged_order_is_looked_up() -> None:
    order, effects = advance(sending(), SendAccepted(venue_order_id="77"), now_ms=NOW)

    assert (order.state, order.venue_order_id) == (S.OPEN, "77")
    assert effects == [LookUp(client_order_id=order.client_order_id)]


def test_no_answer_means_unknown_and_is_looked_up_never_sent_again() -> None:
    order, effects = advance(sending(), SendUnanswered(reason="timeout"), now_ms=NOW)

    assert (order.state, order.reason) == (S.UNKNOWN, "timeout")
    assert effects == [LookUp(client_order_id=order.client_order_id)]


def test_a_deadline_that_passes_after_evidence_changes_nothing() -> None:
    partial = apply(sending(), *fills("0.4"))

    after, effects = advance(partial, SendUnanswered(reason="timeout"), now_ms=NOW + 1)

    assert after is partial
    assert effects == []


@pytest.mark.parametrize("state", [S.UNKNOWN, S.QUARANTINED])
def test_a_refusal_after_somebody_gave_up_waiting_is_left_to_the_look_ups(
    state: OrderState,
) -> None:
    row = an_order(state=state)

    assert advance(row, SendRefused(reason="margin"), now_ms=NOW) == (row, [])


@pytest.mark.parametrize("state", sorted(set(OrderState) - {S.SENDING, S.UNKNOWN, S.QUARANTINED}))
def test_a_refusal_fits_only_an_order_on_the_wire(state: OrderState) -> None:
    with pytest.raises(IllegalTransition):
        advance(an_order(state=state), SendRefused(reason="margin"), now_ms=NOW)


def test_a_definite_refusal_ends_the_order_with_its_reason() -> None:
    order = apply(sending(), SendRefused(reason="margin"))

    assert (order.state, order.reason) == (S.REJECTED, "margin")


def test_no_answer_about_an_order_that_was_never_sent_is_illegal() -> None:
    with pytest.raises(IllegalTransition):
        advance(an_order(), SendUnanswered(reason="timeout"), now_ms=NOW)


@pytest.mark.parametrize("row", [an_order(attempts=1), replace(sending(), state=S.OPEN)])
def test_a_late_timeout_of_an_earlier_send_changes_nothing(row: Order) -> None:
    assert advance(row, SendUnanswered(reason="timeout"), now_ms=NOW) == (row, [])


@pytest.mark.parametrize("state", [S.NOT_PLACED, S.REJECTED])
def test_a_late_acknowledgement_reopens_what_was_held_not_to_be_there(state: OrderState) -> None:
    order, effects = advance(
        replace(sending(), state=state), SendAccepted(venue_order_id="77"), now_ms=NOW
    )

    assert (order.state, order.venue_order_id) == (S.UNKNOWN, "77")
    assert [type(effect) for effect in effects] == [LookUp, RaiseAlert]
    assert isinstance(effects[1], RaiseAlert)
    assert effects[1].code == "reopened"


def test_a_repeated_acknowledgement_asks_for_nothing() -> None:
    known = replace(sending(), state=S.OPEN, venue_order_id="77")

    assert advance(known, SendAccepted(venue_order_id="77"), now_ms=NOW + 1) == (known, [])


def test_the_first_venue_id_is_kept() -> None:
    known = replace(sending(), state=S.OPEN, venue_order_id="1")

    rows = [
        apply(known, SendAccepted(venue_order_id="77")),
        apply(known, VenueReported(order=a_report(VenueOrderStatus.OPEN))),
        apply(known, *fills("0.4")),
    ]

    assert {row.venue_order_id for row in rows} == {"1"}


@pytest.mark.parametrize(
    "event", [VenueReported(order=a_report(VenueOrderStatus.OPEN)), *fills("0.4")]
)
def test_evidence_brings_the_venues_id(event: OrderEvent) -> None:
    assert apply(sending(), event).venue_order_id == "77"


def test_a_row_knows_its_side_its_rest_and_whether_it_is_open() -> None:
    partial = apply(sending(), *fills("0.4"))
    over = apply(partial, *fills("0.9"))

    assert (orders.Side.BUY.sign, orders.Side.SELL.sign) == (1, -1)
    assert (orders.Side.of(1), orders.Side.of(-1)) == (orders.Side.BUY, orders.Side.SELL)
    assert (partial.is_open, partial.remaining_quantity) == (True, Decimal("0.6"))
    assert (over.is_open, over.remaining_quantity) == (False, Decimal(0))


# --- fills ------------------------------------------------------------------------------------


@pytest.mark.catalogue("O12")
def test_O12_every_order_of_fills_reports_and_the_acknowledgement_ends_the_same() -> None:
    events: list[OrderEvent] = [
        SendAccepted(venue_order_id="77"),
        *fills("0.25", "0.5", "0.25"),
        VenueReported(order=a_report(VenueOrderStatus.OPEN)),
        VenueReported(order=a_report(VenueOrderStatus.FILLED, "1")),
    ]

    ends = {apply(sending(), *order) for order in permutations(events)}

    assert len(ends) == 1
    end = ends.pop()
    assert (end.state, end.filled_quantity, end.venue_order_id) == (S.FILLED, Decimal(1), "77")
    assert end.fees == Decimal("0.15")


def test_fills_move_quantity_price_fees_and_pnl() -> None:
    first = FillBooked(fill=a_fill("f1", "0.4", "100"), realized_pnl=Decimal(3))
    second = FillBooked(fill=a_fill("f2", "0.6", "110", fee="0.07"), realized_pnl=Decimal(-1))

    order = apply(sending(), first, second)

    assert order.state is S.FILLED
    assert advance(apply(sending(), first), second, now_ms=NOW)[1] == []
    assert order.average_price == Decimal("106")
    assert (order.fees, order.realized_pnl) == (Decimal("0.12"), Decimal(2))


def test_a_fill_of_another_order_or_side_is_illegal() -> None:
    other = an_order(client_order_id="t1" + "b" * 24)
    event = FillBooked(fill=a_fill(order=other), realized_pnl=Decimal(0))
    wrong_side = FillBooked(fill=replace(a_fill(), side=orders.Side.SELL), realized_pnl=Decimal(0))

    for wrong in (event, wrong_side):
        with pytest.raises(IllegalTransition):
            advance(sending(), wrong, now_ms=NOW)


def test_a_fill_beyond_the_quantity_is_booked_and_raises_an_alert() -> None:
    order, effects = advance(sending(), fills("1.5")[0], now_ms=NOW)

    assert (order.state, order.filled_quantity) == (S.FILLED, Decimal("1.5"))
    assert [effect.code for effect in effects if isinstance(effect, RaiseAlert)] == ["overfill"]


@pytest.mark.parametrize("state", [S.CANCELLED, S.EXPIRED, S.REJECTED, S.NOT_PLACED])
def test_a_late_fill_is_booked_and_reopens_the_order(state: OrderState) -> None:
    ended = replace(sending(), state=state)

    order, effects = advance(ended, fills("0.4")[0], now_ms=NOW)

    assert (order.state, order.filled_quantity) == (S.UNKNOWN, Decimal("0.4"))
    assert order.reserved_quote == 0
    assert [effect.code for effect in effects if isinstance(effect, RaiseAlert)] == ["late_fill"]
    assert LookUp(client_order_id=order.client_order_id) in effects


@pytest.mark.catalogue("O14")
def test_O14_a_cancelled_order_that_the_venue_filled_ends_filled_with_an_alert() -> None:
    cancelled = replace(sending(), state=S.CANCELLED)
    report = VenueReported(order=a_report(VenueOrderStatus.FILLED, "1"))

    reopened, effects = advance(cancelled, report, now_ms=NOW)
    order = apply(reopened, *fills("1"), report)

    assert reopened.state is S.UNKNOWN
    assert [type(effect) for effect in effects] == [FetchFills, RaiseAlert]
    assert (order.state, order.filled_quantity) == (S.FILLED, Decimal(1))


# --- what the venue says ----------------------------------------------------------------------


@pytest.mark.parametrize("status", list(VenueOrderStatus))
@pytest.mark.parametrize("state", [S.SENDING, S.UNKNOWN, S.QUARANTINED, S.OPEN, S.CANCELLING])
def test_nothing_ends_while_the_venue_filled_more_than_is_booked(
    state: OrderState, status: VenueOrderStatus
) -> None:
    row = replace(sending(), state=state)

    order, effects = advance(row, VenueReported(order=a_report(status, "0.4")), now_ms=NOW)

    assert not order.state.is_terminal
    assert effects == [FetchFills(client_order_id=order.client_order_id)]


@pytest.mark.catalogue("O13")
def test_O13_a_cancel_after_a_partial_fill_ends_cancelled_with_what_was_filled() -> None:
    partial = apply(sending(), *fills("0.4"))
    cancelling, effects = advance(partial, CancelRequested(reason="operator"), now_ms=NOW)

    order = apply(cancelling, VenueReported(order=a_report(VenueOrderStatus.CANCELLED, "0.4")))

    assert effects == [CancelAtVenue(client_order_id=order.client_order_id)]
    assert (order.state, order.filled_quantity) == (S.CANCELLED, Decimal("0.4"))
    assert order.reason == "operator"


@pytest.mark.parametrize(
    "status", [VenueOrderStatus.CANCELLED, VenueOrderStatus.EXPIRED, VenueOrderStatus.REJECTED]
)
def test_regression_11_an_order_that_filled_in_part_is_never_booked_as_rejected(
    status: VenueOrderStatus,
) -> None:
    partial = apply(sending(), *fills("0.4"))
    unknown = replace(partial, state=S.UNKNOWN)

    ends = [apply(row, VenueReported(order=a_report(status, "0.4"))) for row in (partial, unknown)]

    assert {end.state for end in ends} <= {S.CANCELLED, S.EXPIRED}
    assert {end.filled_quantity for end in ends} == {Decimal("0.4")}


@pytest.mark.parametrize(
    ("state", "filled", "status", "end", "reason"),
    [
        (S.PARTIAL, "0.4", VenueOrderStatus.FILLED, S.FILLED, ""),
        (S.OPEN, "0", VenueOrderStatus.CANCELLED, S.CANCELLED, "venue_cancelled"),
        (S.UNKNOWN, "0", VenueOrderStatus.EXPIRED, S.EXPIRED, "venue_expired"),
        (S.CANCELLING, "0", VenueOrderStatus.EXPIRED, S.CANCELLED, "before"),
        (S.UNKNOWN, "0", VenueOrderStatus.REJECTED, S.REJECTED, "venue_rejected"),
        (S.SENDING, "0", VenueOrderStatus.REJECTED, S.REJECTED, "venue_rejected"),
        (S.OPEN, "0", VenueOrderStatus.REJECTED, S.CANCELLED, "venue_rejected"),
    ],
)
def test_the_venue_ends_an_order_whose_fills_are_all_booked(
    *, state: OrderState, filled: str, status: VenueOrderStatus, end: OrderState, reason: str
) -> None:
    row = replace(sending(), state=state, filled_quantity=Decimal(filled), reason="before")

    order, effects = advance(row, VenueReported(order=a_report(status, filled)), now_ms=NOW)

    assert (order.state, order.reason, effects) == (end, reason, [])


def test_filled_without_any_fill_is_not_believed() -> None:
    row = replace(sending(), state=S.OPEN)

    order, effects = advance(
        row, VenueReported(order=a_report(VenueOrderStatus.FILLED, "0")), now_ms=NOW
    )

    assert order.state is S.OPEN
    assert isinstance(effects[0], RaiseAlert)
    assert effects[0].code == "filled_without_fills"


def test_a_report_that_confirms_a_refusal_changes_nothing() -> None:
    rejected = replace(sending(), state=S.REJECTED)
    absent = replace(sending(), state=S.NOT_PLACED)
    report = VenueReported(order=a_report(VenueOrderStatus.REJECTED))

    assert advance(rejected, report, now_ms=NOW + 1) == (rejected, [])
    assert apply(absent, report).state is S.UNKNOWN
    assert apply(rejected, VenueReported(order=a_report(VenueOrderStatus.OPEN))).state is S.UNKNOWN


@pytest.mark.parametrize("status", [VenueOrderStatus.OPEN, VenueOrderStatus.PARTIAL])
@pytest.mark.parametrize("state", [S.CANCELLED, S.EXPIRED])
def test_an_ended_order_that_the_venue_holds_open_is_reopened(
    state: OrderState, status: VenueOrderStatus
) -> None:
    ended = replace(sending(), state=state, filled_quantity=Decimal("0.4"))

    order, effects = advance(ended, VenueReported(order=a_report(status, "0.4")), now_ms=NOW)

    assert (order.state, order.reason) == (S.UNKNOWN, "reopened")
    assert [type(effect) for effect in effects] == [LookUp, RaiseAlert]


@pytest.mark.parametrize("state", [S.CANCELLED, S.EXPIRED, S.FILLED])
def test_an_ended_order_that_the_venue_confirms_or_reports_late_stays(state: OrderState) -> None:
    ended = replace(sending(), state=state, filled_quantity=Decimal("0.4"))
    late = VenueReported(order=a_report(VenueOrderStatus.OPEN, "0.4"))
    same = VenueReported(order=a_report(VenueOrderStatus.CANCELLED, "0.4"))

    assert advance(ended, same, now_ms=NOW + 1) == (ended, [])
    if state is S.FILLED:
        assert advance(ended, late, now_ms=NOW + 1) == (ended, [])


def test_a_cancel_asked_for_twice_is_sent_again() -> None:
    cancelling = replace(sending(), state=S.CANCELLING)

    again = advance(cancelling, CancelRequested(reason="operator"), now_ms=NOW + 1)

    assert again == (cancelling, [CancelAtVenue(client_order_id=cancelling.client_order_id)])


def test_a_venue_that_takes_fills_back_ends_nothing_and_raises_an_alert() -> None:
    partial = apply(sending(), *fills("0.4"))

    order, effects = advance(
        partial, VenueReported(order=a_report(VenueOrderStatus.CANCELLED, "0")), now_ms=NOW
    )

    assert order.state is S.PARTIAL
    assert [effect.code for effect in effects if isinstance(effect, RaiseAlert)] == ["cum_mismatch"]


def test_evidence_cancels_a_pending_resend() -> None:
    waiting = an_order(attempts=1)

    for event in (
        SendAccepted(venue_order_id="77"),
        VenueReported(order=a_report(VenueOrderStatus.OPEN)),
        *fills("0.4"),
    ):
        order, effects = advance(waiting, event, now_ms=NOW)
        assert order.state is S.UNKNOWN
        assert effects == [LookUp(client_order_id=order.client_order_id)]


def test_evidence_of_an_order_that_was_never_sent_raises_an_alert() -> None:
    _, effects = advance(
        an_order(), VenueReported(order=a_report(VenueOrderStatus.OPEN)), now_ms=NOW
    )

    assert (
        RaiseAlert(code="sent_without_record", detail=f"{an_order().client_order_id} was intent")
        in effects
    )


def test_a_report_of_another_order_is_illegal() -> None:
    other = an_order(client_order_id="t1" + "b" * 24)
    report = VenueReported(order=a_report(VenueOrderStatus.OPEN, order=other))

    with pytest.raises(IllegalTransition):
        advance(sending(), report, now_ms=NOW)


def test_a_cancel_still_open_at_the_venue_is_given_a_minute_then_reported() -> None:
    cancelling = replace(sending(), state=S.CANCELLING, updated_ms=NOW)
    report = VenueReported(order=a_report(VenueOrderStatus.OPEN))

    patient, nothing = advance(cancelling, report, now_ms=NOW + orders.CANCEL_PATIENCE_MS)
    given_up, effects = advance(cancelling, report, now_ms=NOW + orders.CANCEL_PATIENCE_MS + 1)

    assert (patient, nothing) == (cancelling, [])
    assert given_up.state is S.OPEN
    assert isinstance(effects[0], RaiseAlert)
    assert effects[0].code == "cancel_not_effective"


@pytest.mark.parametrize("state", [S.SENDING, S.UNKNOWN, S.QUARANTINED])
def test_an_unresolved_order_is_looked_up_before_it_is_cancelled(state: OrderState) -> None:
    row = replace(sending(), state=state)

    order, effects = advance(row, CancelRequested(reason="kill_switch"), now_ms=NOW)

    again, _ = advance(order, CancelRequested(reason="operator"), now_ms=NOW)
    assert order == replace(row, cancel_reason="kill_switch", updated_ms=NOW)
    assert again is order
    assert effects == [LookUp(client_order_id=order.client_order_id)]


def test_cancelling_what_was_never_sent_or_has_ended_needs_no_venue() -> None:
    unsent, nothing = advance(an_order(), CancelRequested(reason="operator"), now_ms=NOW)
    ended = replace(sending(), state=S.FILLED)

    assert (unsent.state, unsent.reason, nothing) == (S.NOT_PLACED, "operator", [])
    assert advance(ended, CancelRequested(reason="operator"), now_ms=NOW) == (ended, [])


# --- not found --------------------------------------------------------------------------------


def test_votes_count_only_a_second_apart() -> None:
    unknown = replace(sending(), state=S.UNKNOWN)

    order = apply(
        unknown,
        NotFoundVoted(wall_ms=WALL + 999),
        NotFoundVoted(wall_ms=WALL + 1_000),
        NotFoundVoted(wall_ms=WALL + 1_999),
        NotFoundVoted(wall_ms=WALL + 2_000),
    )

    assert (order.not_found_votes, order.last_vote_wall_ms) == (2, WALL + 2_000)


@pytest.mark.catalogue("O15")
@pytest.mark.parametrize("state", [S.SENDING, S.OPEN, S.PARTIAL, S.CANCELLING, S.FILLED])
def test_O15_not_found_proves_nothing_about_an_order_that_is_there(state: OrderState) -> None:
    row = replace(sending(), state=state)

    assert advance(row, NotFoundVoted(wall_ms=VOTED), now_ms=NOW) == (row, [])


def is_final(order: Order, **changes: bool) -> bool:
    return orders.final_not_found(
        order,
        wall_ms=max(VOTED, order.last_vote_wall_ms),
        **{"absent_in_second_source": True, **changes},
    )


def test_not_found_is_final_only_when_every_condition_holds() -> None:
    proved = voted_out()
    bound = WALL + 5_000 + 2_000 + 1_000

    assert is_final(proved)
    assert is_final(voted_out(S.QUARANTINED))
    assert is_final(replace(proved, last_vote_wall_ms=bound + 1))
    assert not is_final(replace(proved, last_vote_wall_ms=bound))
    assert not is_final(replace(proved, not_found_votes=2))
    assert not is_final(replace(proved, venue_order_id="77"))
    assert not is_final(replace(proved, filled_quantity=Decimal("0.1")))
    assert not is_final(replace(proved, state=S.SENDING))
    assert not is_final(proved, absent_in_second_source=False)
    assert not is_final(proved, is_position_explained=False)


def test_a_position_of_somebody_else_keeps_an_order_unknown_for_a_bounded_time() -> None:
    proved = voted_out()
    patient = replace(
        proved, last_vote_wall_ms=proved.sent_wall_ms + orders.UNEXPLAINED_AFTER_MS + 1
    )

    assert is_final(patient, is_position_explained=False)
    assert not is_final(patient, is_position_explained=False, absent_in_second_source=False)


def test_a_proved_absence_resends_the_same_id_at_most_three_times() -> None:
    proved = NotFoundProved(resend=True, reason="absent")

    again = apply(voted_out(attempts=2), proved)
    spent = apply(voted_out(attempts=3), proved)
    stale = apply(voted_out(attempts=1), NotFoundProved(resend=False, reason="decision_stale"))

    assert (again.state, again.client_order_id) == (S.INTENT, an_order().client_order_id)
    assert spent.state is S.NOT_PLACED
    assert (stale.state, stale.reason) == (S.NOT_PLACED, "decision_stale")


def test_a_proof_without_the_votes_is_illegal() -> None:
    for weak in (
        replace(voted_out(), not_found_votes=2),
        replace(voted_out(), venue_order_id="77"),
        replace(voted_out(), last_vote_wall_ms=WALL + orders.FINAL_AFTER_MS),
        replace(voted_out(), state=S.OPEN),
    ):
        with pytest.raises(IllegalTransition):
            advance(weak, NotFoundProved(resend=True, reason="absent"), now_ms=NOW)


def test_an_order_unresolved_for_ten_minutes_is_quarantined_and_can_come_back() -> None:
    unknown = replace(sending(), state=S.UNKNOWN)
    ten_minutes = WALL + 600_000

    quarantined, effects = advance(unknown, Quarantined(), now_ms=NOW)
    found = apply(quarantined, VenueReported(order=a_report(VenueOrderStatus.OPEN)))

    assert not orders.is_overdue(unknown, wall_ms=ten_minutes)
    assert orders.is_overdue(unknown, wall_ms=ten_minutes + 1)
    assert isinstance(effects[0], RaiseAlert)
    assert effects[0].code == "unresolved_client_order"
    assert found.state is S.OPEN
    assert advance(quarantined, Quarantined(), now_ms=NOW + 1) == (quarantined, [])


def test_only_an_intent_is_abandoned() -> None:
    abandoned = apply(an_order(), Abandoned(reason="kill_switch"))

    assert (abandoned.state, abandoned.reason) == (S.NOT_PLACED, "kill_switch")
    assert advance(abandoned, Abandoned(reason="again"), now_ms=NOW) == (abandoned, [])
    with pytest.raises(IllegalTransition):
        advance(sending(), Abandoned(reason="kill_switch"), now_ms=NOW)


# --- exits that the venue made ----------------------------------------------------------------


def test_an_exit_of_the_venue_never_goes_on_the_wire() -> None:
    with pytest.raises(IllegalTransition):
        advance(an_order(exit_kind=ExitKind.STOP_LOSS), SendStarted(sent_wall_ms=WALL), now_ms=NOW)


def test_an_exit_that_fired_ends_with_its_kind_as_the_reason_and_without_alarm() -> None:
    row = an_order(exit_kind=ExitKind.STOP_LOSS, venue_order_id="77")

    heard, effects = advance(row, VenueReported(order=a_report(V.FILLED, "1")), now_ms=NOW)
    done, more = advance(heard, FillBooked(fill=a_fill(), realized_pnl=Decimal(-1)), now_ms=NOW)

    assert heard.state is S.UNKNOWN
    assert not [effect for effect in (*effects, *more) if isinstance(effect, RaiseAlert)]
    assert (done.state, done.reason, done.realized_pnl) == (S.FILLED, "stop_loss", Decimal(-1))


def test_an_exits_id_is_noted_on_a_filled_row_and_changes_nothing_on_one_that_may_not_move() -> (
    None
):
    seen = ExitSeen(kind=ExitKind.STOP_LOSS, venue_order_id="91")
    filled = replace(sending(), state=S.FILLED)
    cancelled = replace(sending(), state=S.CANCELLED)

    assert advance(filled, seen, now_ms=NOW)[0].stop_order_id == "91"
    assert advance(cancelled, seen, now_ms=NOW) == (cancelled, [])


def test_a_refused_exit_is_told_unless_nothing_is_held() -> None:
    exit_ = sending(reduce_only=True)

    done, silent = advance(exit_, SendRefused(reason=POSITION_IS_FLAT), now_ms=NOW)
    failed, told = advance(exit_, SendRefused(reason="nothing_to_reduce"), now_ms=NOW)

    assert (done.state, silent) == (S.REJECTED, [])
    assert failed.state is S.REJECTED
    assert [effect.code for effect in told if isinstance(effect, RaiseAlert)] == ["exit_refused"]


# --- a cancel that was wished before the venue had answered -----------------------------------


@pytest.mark.parametrize("state", [S.UNKNOWN, S.QUARANTINED])
def test_an_order_that_turns_out_to_rest_is_cancelled_as_wished(state: OrderState) -> None:
    row = replace(sending(), state=state, cancel_reason="kill_switch")

    found, effects = advance(row, VenueReported(order=a_report(V.OPEN)), now_ms=NOW)
    asked, again = advance(found, VenueReported(order=a_report(V.OPEN)), now_ms=NOW)
    gone, _ = advance(asked, VenueReported(order=a_report(V.CANCELLED)), now_ms=NOW)

    cancel = [CancelAtVenue(client_order_id=row.client_order_id)]
    assert (found.state, effects) == (S.OPEN, cancel)
    assert (asked.state, again) == (S.CANCELLING, cancel)
    assert (gone.state, gone.reason) == (S.CANCELLED, "kill_switch")


def test_an_order_that_is_proved_absent_is_not_sent_again_once_its_end_was_wished() -> None:
    row = replace(
        sending(),
        state=S.UNKNOWN,
        cancel_reason="kill_switch",
        not_found_votes=MIN_VOTES,
        last_vote_wall_ms=WALL + FINAL_AFTER_MS + 1,
    )

    order, _ = advance(row, NotFoundProved(resend=True, reason="not_found"), now_ms=NOW)

    assert (order.state, order.reason) == (S.NOT_PLACED, "kill_switch")
