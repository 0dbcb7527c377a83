"""Receipts of signals in both stores."""

from desk.market.signals import receive
from desk.store import signals
from desk.store.kinds import signals_of
from desk.store.port import Store


def test_a_repeat_leaves_the_first_receipt_and_old_ones_go(any_store: Store) -> None:
    body = b'{"timenow": "2026-01-01T00:00:00Z"}'
    at_ms = 1_800_000_000_000
    first = receive("main", body, received_ms=at_ms)
    assert signals.append(any_store, first)
    assert not signals.append(any_store, receive("main", body, received_ms=at_ms + 1))
    [kept] = any_store.list(signals_of("main"))
    assert (kept.value, kept.version) == (first, 1)
    late = receive("main", b"late", received_ms=at_ms + signals.KEPT_MS + 1)
    assert signals.append(any_store, late)
    found = signals.search(any_store, "main", start_ms=0, end_ms=late.ts_received_ms + 1)
    assert [signal.external_id for signal in found.signals] == [late.external_id]
