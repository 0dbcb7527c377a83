"""Requests that must happen once: claimed, answered, given again, and never locked for ever."""

import threading
from typing import Any

import pytest

from desk.store.port import Begun, Standing, Store
from desk.store.valkey import ValkeyStore

DAY_MS = 86_400_000
LEASE_MS = 1_000


def begin(store: Store, claim: str = "one", *, now_ms: int = 0, body: str = "body") -> Begun:
    return store.begin_request(
        "start", body, claim=claim, now_ms=now_ms, lease_ms=LEASE_MS, kept_ms=DAY_MS
    )


def finish(
    store: Store, claim: str = "one", *, now_ms: int = 0, answer: bytes = b"201 \xff"
) -> bool:
    return store.finish_request("start", claim=claim, now_ms=now_ms, kept_ms=DAY_MS, answer=answer)


def test_the_first_answer_is_given_again_for_a_day(any_store):
    assert begin(any_store).standing is Standing.BEGUN
    assert finish(any_store, now_ms=500)

    kept = Begun(standing=Standing.DONE, answer=b"201 \xff")
    assert begin(any_store, "two", now_ms=501) == kept
    assert begin(any_store, "two", now_ms=500 + DAY_MS - 1) == kept
    assert begin(any_store, "two", now_ms=500 + DAY_MS).standing is Standing.BEGUN


@pytest.mark.parametrize("is_done", [False, True])
def test_another_body_is_told_apart_while_the_first_runs_and_after(any_store, is_done):
    begin(any_store)
    if is_done:
        finish(any_store)

    assert begin(any_store, "two", body="other") == Begun(standing=Standing.OTHER_BODY)
    assert begin(any_store, "two", now_ms=DAY_MS, body="other").standing is Standing.BEGUN


def test_a_twin_waits_until_the_owner_is_done_or_its_lease_is_over(any_store):
    begin(any_store)

    assert begin(any_store, "two", now_ms=LEASE_MS - 1).standing is Standing.IN_FLIGHT
    assert begin(any_store, "two", now_ms=LEASE_MS).standing is Standing.BEGUN
    assert begin(any_store, "three", now_ms=LEASE_MS + 1).standing is Standing.IN_FLIGHT


def test_an_owner_that_was_taken_over_keeps_nothing(any_store):
    begin(any_store)
    begin(any_store, "two", now_ms=LEASE_MS)

    assert not finish(any_store, "one", answer=b"late")
    assert finish(any_store, "two", answer=b"right")
    assert not finish(any_store, "two", answer=b"again")
    assert begin(any_store, "three").answer == b"right"


def test_a_request_without_a_final_answer_may_come_again(any_store):
    begin(any_store)
    assert finish(any_store, answer=b"")

    assert begin(any_store, "two", body="other").standing is Standing.BEGUN
    assert not finish(any_store, "one")


def test_of_many_at_once_one_begins(any_store):
    found = list[Standing]()
    callers = [
        threading.Thread(target=lambda n=n: found.append(begin(any_store, f"c{n}").standing))
        for n in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)

    assert sorted(found) == [Standing.BEGUN] + [Standing.IN_FLIGHT] * 7


def test_the_server_forgets_an_answer_by_itself_but_not_within_the_day(store: ValkeyStore):
    client: Any = store.connection.money
    begin(store)
    assert DAY_MS - 60_000 < client.pttl("idem:start") <= DAY_MS

    client.pexpire("idem:start", 60_000)
    finish(store)

    assert DAY_MS - 60_000 < client.pttl("idem:start") <= DAY_MS
