"""An order that only reduces a position passes whatever protects entries."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import event, given
from hypothesis import strategies as st

from desk.trading import admission, risk
from desk.trading.admission import Mandate
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger
from desk.trading.limits import default_limits, default_live_policy
from desk.trading.orders import Leg, OrderState, Side
from desk.trading.risk import Approved, VenueView
from desk.trading.venue_health import Condition, VenueHealth
from tests.desk.trading.builders import (
    INSTRUMENT,
    NOW,
    PAIR,
    WALL,
    a_position,
    an_intent,
    an_order,
    books_with,
)

LOTS = st.integers(1, 100_000).map(lambda lots: lots * INSTRUMENT.lot)
SIGNS = st.sampled_from([1, -1])
NONE_LEFT = Decimal("0.000001")
MANDATES = st.sampled_from(
    [
        None,
        Mandate(account="live", pair="ETH-USDT", allowed_pairs=()),
        Mandate(account="paper", pair=PAIR, allowed_pairs=()),
        Mandate(account="paper", pair=PAIR, allowed_pairs=(PAIR,), kill_reason="storm"),
    ]
)
VENUES = st.sampled_from(
    [
        None,
        VenueView(health=None, wall_ms=WALL),
        VenueView(health=VenueHealth(account="paper", seen_wall_ms=1), wall_ms=WALL),
        VenueView(
            health=VenueHealth(account="paper", seen_wall_ms=WALL, condition=Condition.AWAY),
            wall_ms=WALL,
        ),
        VenueView(
            health=VenueHealth(account="paper", seen_wall_ms=WALL, condition=Condition.BANNED),
            wall_ms=WALL,
        ),
    ]
)
LIMITS = replace(
    default_limits(),
    max_position_size=NONE_LEFT,
    leverage_cap=Decimal(1),
    max_daily_loss=NONE_LEFT,
    max_drawdown=NONE_LEFT,
    max_open_positions=1,
)
POLICY = replace(
    default_live_policy("paper"),
    max_total_exposure=NONE_LEFT,
    max_instrument_exposure=NONE_LEFT,
    max_open_positions=1,
    max_daily_loss=NONE_LEFT,
    max_drawdown=NONE_LEFT,
    max_leverage=Decimal(1),
)
TRIPPED = Breaker(account="paper", state=BreakerState.COOLDOWN, cooldown_until_ms=NOW + 60_000)


@st.composite
def losing_books(draw: st.DrawFn, held: Decimal) -> Ledger:
    """Books that hold the position, and others, at any price since, with any cash."""
    others = draw(st.lists(st.sampled_from(["ETH-USDT", "SOL-USDT"]), unique=True))
    positions = [a_position(held)]
    positions += [replace(a_position("-3"), pair=pair) for pair in others]
    books = books_with(*positions, cash=str(draw(st.integers(1, 20_000))))
    price = draw(st.integers(1, 1_000).map(Decimal))
    return replace(books, marks={**books.marks, PAIR: price}, peak_equity=Decimal(1_000_000))


@given(
    data=st.data(),
    lots=LOTS,
    sign=SIGNS,
    part=st.fractions(min_value=0, max_value=1),
    mandate=MANDATES,
    venue=VENUES,
    tradable=st.booleans(),
    leverage=st.integers(2, 125).map(Decimal),
    mark_age_ms=st.integers(0, 10_000_000),
    slow_commit_ms=st.sampled_from([None, 10_000.0]),
    resting=st.booleans(),
)
def test_an_exit_passes_whatever_protects_entries(
    *,
    data: st.DataObject,
    lots: Decimal,
    sign: int,
    part: float,
    mandate: Mandate | None,
    venue: VenueView | None,
    tradable: bool,
    leverage: Decimal,
    mark_age_ms: int,
    slow_commit_ms: float | None,
    resting: bool,
) -> None:
    held = lots * sign
    books = data.draw(losing_books(held))
    whole = int(lots / INSTRUMENT.lot)
    quantity = max(1, int(whole * part)) * INSTRUMENT.lot
    side = Side.SELL if held > 0 else Side.BUY
    leaving = an_intent(
        quantity * side.sign, leg=Leg.EXIT, reduce_only=True, reference_price=Decimal(100)
    )
    entering = an_intent(quantity * sign)
    instrument = replace(INSTRUMENT, tradable=tradable)
    orders = [an_order(state=OrderState.OPEN, side=Side.of(held))] if resting else []

    def verdicts(intent: OrderIntent) -> list[object]:
        admitted = admission.check(
            intent, instrument=instrument, mandate=mandate, held_quantity=held
        )
        judged = risk.check(
            intent,
            ledger=replace(books, marked_ms=NOW - mark_age_ms),
            open_orders=orders,
            limits=LIMITS,
            policy=POLICY,
            breaker=TRIPPED,
            price=Decimal(100),
            leverage=leverage,
            now_ms=NOW,
            max_mark_age_ms=30_000,
            pair_cooldown_until_ms=NOW + 1,
            venue=venue,
            slow_commit_ms=slow_commit_ms,
        )
        return [admitted, judged]

    admitted, judged = verdicts(leaving)
    refused, refusal = verdicts(entering)

    event(f"entry refused by {getattr(refusal, 'limit', '')}")
    assert admitted is None
    assert isinstance(judged, Approved)
    assert refused is not None
    assert not isinstance(refusal, Approved)
