"""Receipts of signals in both stores."""

from dataclasses import replace

import pytest

from desk.market.signals import SignalReceipt, receive
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


AT_MS = 1_800_000_000_000


def receipts(count: int, *, at_ms: int = AT_MS) -> list[SignalReceipt]:
    return [receive("main", b"text %d" % number, received_ms=at_ms) for number in range(count)]


def test_receipts_are_bounded_by_number_whatever_comes_in(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MAX_KEPT", 5)
    for number in range(12):
        signals.append(any_store, receive("main", b"%d" % number, received_ms=AT_MS + number))

    kept = any_store.list(signals_of("main"))
    assert [doc.value.raw for doc in kept] == ["11", "10", "9", "8", "7"]


def test_trimming_drops_what_is_too_old_and_too_many_without_a_new_receipt(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for receipt in receipts(4):
        signals.append(any_store, receipt)
    signals.append(any_store, receive("main", b"old", received_ms=AT_MS - 1))
    monkeypatch.setattr(signals, "MAX_KEPT", 3)

    assert signals.trim(any_store, "main", now_ms=AT_MS + signals.KEPT_MS) == 2
    assert signals.trim(any_store, "main", now_ms=AT_MS + signals.KEPT_MS) == 0
    assert len(any_store.list(signals_of("main"))) == 3
    assert signals.trim(any_store, "main", now_ms=AT_MS + signals.KEPT_MS + 1) == 3


def test_pages_give_every_revision_of_a_message_once(any_store: Store) -> None:
    [first] = receipts(1)
    for rev in range(1, 13):
        signals.append(any_store, replace(first, rev=rev))

    found: list[int] = []
    after = None
    while True:
        page = signals.search(any_store, "main", start_ms=0, end_ms=AT_MS + 1, limit=1, after=after)
        found += [signal.rev for signal in page.signals]
        if not page.truncated:
            break
        after = page.last
    assert sorted(found) == list(range(1, 13))


def test_keys_beyond_follow_the_order_of_the_list(any_store: Store) -> None:
    for receipt in receipts(6):
        signals.append(any_store, receipt)
    kind = signals_of("main")
    keys = [doc.key for doc in any_store.list(kind)]
    assert any_store.keys_beyond(kind, 2) == keys[2:]
    assert any_store.keys_beyond(kind, 2, limit=3) == keys[2:5]
    assert any_store.keys_beyond(kind, 6) == []
    assert any_store.keys_beyond(kind, 0, limit=0) == []
