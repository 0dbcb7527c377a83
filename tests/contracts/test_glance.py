"""One look at an account and some documents answers what the single reads answer."""

from decimal import Decimal

from desk.store import kinds
from desk.store.port import Event, Store, Wanted
from desk.store.read_ahead import read_ahead
from desk.trading.ledger import Ledger
from tests.contracts.conftest import Rows


def furnished(store: Store, rows: Rows) -> None:
    fence = store.acquire_lease("ledger:paper", "test", 60_000)
    books = Ledger(account="paper", starting_cash=Decimal(10_000), cash=Decimal(10_000))
    event = Event(topic="risk", key="paper", data={}, at_ms=1)
    ledger = store.create_ledger(books, fence=fence, event=event)
    order = rows.order("c1")
    store.create_order(order, ledger, fence=fence, request_id="r1", event=event)
    store.put(kinds.STATE, "known", {"a": 1}, at_ms=1)


WANTED: tuple[Wanted, ...] = ((kinds.STATE, "known"), (kinds.STATE, "unknown"))


def test_a_glance_answers_as_the_single_reads_do(any_store: Store) -> None:
    furnished(any_store, Rows())

    seen = any_store.glance("paper", WANTED, order_id="c1")

    assert seen.order == any_store.order("c1") is not None
    assert seen.ledger == any_store.ledger("paper") is not None
    assert seen.ledger is not None
    assert seen.ledger.version == 2, "reserving moves it"
    assert seen.active_orders == any_store.active_orders("paper") != []
    assert seen.kill_reason is None
    assert seen.docs == [any_store.get(kinds.STATE, "known"), None]


def test_a_glance_at_nothing_finds_nothing(any_store: Store) -> None:
    seen = any_store.glance("nobody")

    assert (seen.order, seen.ledger, seen.active_orders) == (None, None, [])
    assert (seen.kill_reason, seen.docs) == (None, [])


def test_a_kill_switch_of_the_account_or_of_all_is_seen(any_store: Store) -> None:
    event = Event(topic="risk", key="all", data={}, at_ms=1)
    for scope in ("all", "paper"):
        any_store.set_kill(scope, on=True, reason=f"of {scope}", event=event)

        assert any_store.glance("paper").kill_reason == f"of {scope}"
        assert any_store.glance("paper").kill_reason == any_store.kill_reason("paper")
    assert any_store.glance("live").kill_reason == "of all"


def test_what_is_read_ahead_stands_still_and_the_rest_is_read_as_it_is(any_store: Store) -> None:
    furnished(any_store, Rows())
    ahead = read_ahead(any_store, "paper", WANTED, order_id="c1")

    any_store.put(kinds.STATE, "unknown", {"b": 2}, at_ms=2)
    any_store.put(kinds.STATE, "other", {"c": 3}, at_ms=2)

    other = ahead.get(kinds.STATE, "other")
    assert ahead.get(kinds.STATE, "unknown") is None
    assert other is not None
    assert other.value == {"c": 3}
    assert ahead.ledger("paper") == any_store.ledger("paper")
    assert ahead.ledger("live") is None
    assert read_ahead(ahead, "paper", WANTED[:1], order_id="c1") is ahead
    assert read_ahead(ahead, "live", WANTED, order_id="c1") is not ahead
