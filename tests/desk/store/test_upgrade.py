"""A store that an older release wrote: opened, brought to today's form, and carried on.

`store_v1.tar.gz` holds the files of a server of version 1 that was killed: orders c1 (partly filled),
c2 (sending) and c3 (intent), an adjustment, a kill flag, an agent with two versions and their
evaluations, one answered and one unfinished request.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from desk.store import kinds, server
from desk.store.layout import ANSWERS_KEPT_MS
from desk.store.port import Begun, Event, Gate, Standing, Stream
from desk.store.valkey import ValkeyStore
from desk.trading.orders import OrderState

OLD = Path(__file__).parent / "store_v1.tar.gz"
STOPPED_MS = 1_700_000_300_000
EVENT = Event(topic="t", key="k", data={}, at_ms=1, stream=Stream.ORDERS)


@pytest.fixture
def old_home(home: Path) -> Path:
    """A home with the files of version 1."""
    with tarfile.open(OLD) as files:
        files.extractall(home / "store", filter="data")
    return home


@pytest.fixture
def upgraded(old_home: Path) -> Iterator[ValkeyStore]:
    opened = ValkeyStore(server.start(old_home).url)
    yield opened
    opened.close()


@pytest.mark.catalogue("I20")
def test_I20_money_of_an_older_release_is_read_and_carried_on(upgraded: ValkeyStore):
    ledger = upgraded.ledger("paper")
    assert ledger is not None
    assert ledger.positions["BTC-USDT"].quantity == Decimal("0.0050")
    assert ledger.positions["ETH-USDT"].quantity == Decimal("0.5")
    states = {order.client_order_id: order.state for order in upgraded.active_orders("paper")}
    assert states == {
        "c1": OrderState.PARTIAL,
        "c2": OrderState.SENDING,
        "c3": OrderState.INTENT,
    }
    assert set(upgraded.reservations("paper")) == set(states)
    assert upgraded.kill_reason("live") == "drill"

    fence = upgraded.acquire_lease("executor:paper", "newer", 6_000)
    [before] = [o for o in upgraded.active_orders("paper") if o.client_order_id == "c2"]
    after = replace(before, state=OrderState.UNKNOWN)
    moved = upgraded.move_order(before, after, fence=fence, request_id="q", event=EVENT)

    assert fence.epoch == 2
    assert moved.version == before.version + 1


@pytest.mark.catalogue("I20")
def test_I20_answers_of_an_older_release_are_still_given_and_its_leases_still_end(
    upgraded: ValkeyStore,
):
    def begin(name: str, now_ms: int) -> Begun:
        return upgraded.begin_request(
            name, "fp", claim="c", now_ms=now_ms, lease_ms=1_000, kept_ms=ANSWERS_KEPT_MS
        )

    done = begin("done-key", STOPPED_MS + 999)

    assert done.standing is Standing.DONE
    assert b'"status":201' in done.answer
    assert begin("open-key", STOPPED_MS + 999).standing is Standing.IN_FLIGHT
    assert begin("open-key", STOPPED_MS + 1_000).standing is Standing.BEGUN
    assert begin("done-key", STOPPED_MS + ANSWERS_KEPT_MS).standing is Standing.BEGUN
    assert upgraded.connection.money.keys("doc*:idem*") == []
    assert 0 < upgraded.connection.money.pttl("idem:open-key") <= ANSWERS_KEPT_MS


@pytest.mark.catalogue("I20")
def test_I20_versions_of_an_older_release_can_be_promoted_and_gone_back_to(upgraded: ValkeyStore):
    for version_id, gate in (
        ("v2", Gate(evaluation_id="e2", evaluation_version=1, pair="BTC-USDT")),
        ("v1", Gate(evaluation_id="e1")),
    ):
        before = upgraded.get(kinds.AGENTS, "desk")
        assert before is not None
        after = replace(before.value, active_version_id=version_id)

        flipped = upgraded.flip_version(before, after, gate, request_id=version_id, event=EVENT)

        assert flipped.value.active_version_id == version_id


@pytest.mark.catalogue("I20")
def test_I20_an_upgrade_that_broke_off_is_finished_by_the_next_program(upgraded: ValkeyStore):
    upgraded.load_functions()
    client = upgraded.connection.money
    client.hset(
        "doc:idem/late",
        mapping={"v": 1, "at_ms": 5, "row": '{"state":"in_flight","fingerprint":"x"}'},
    )
    client.zadd("docx:idem", {"late": 5})
    upgraded.close()

    upgraded.load_functions()

    assert upgraded.connection.money.hget("idem:late", "fingerprint") == b"x"
    assert upgraded.connection.money.exists("docx:idem", "doc:idem/late") == 0
