"""A store that an older release wrote: opened, brought to today's form, and carried on.

`store_v1.tar.gz` holds the files of a server of version 1 that was killed: orders c1 (partly filled),
c2 (sending) and c3 (intent), an adjustment, a kill flag, an agent with two versions and their
evaluations, one answered and one unfinished request.
"""

import struct
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from desk.learning.study import Dataset
from desk.market.candles import Candles
from desk.store import kinds, server
from desk.store.layout import ANSWERS_KEPT_MS
from desk.store.port import Begun, Event, Gate, Standing, Stream
from desk.store.valkey import ValkeyStore
from desk.trading.orders import OrderState

OLD = Path(__file__).parent / "store_v1.tar.gz"
STOPPED_MS = 1_700_000_300_000
MINUTE_MS = 60_000
VALUES = ("open", "high", "low", "close", "volume")
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
    report = upgraded.get(kinds.EVALUATIONS, "e2")
    assert report is not None
    dataset = Dataset(
        dataset_id=report.value.dataset_id,
        pair=report.value.pair,
        interval="1m",
        start_ms=0,
        end_ms=1,
        sha256=report.value.dataset_sha256,
        rows=1,
        missing=0,
        feature_set_id=report.value.feature_set_id,
        lookback=1,
    )
    upgraded.put(kinds.DATASETS, dataset.dataset_id, dataset, at_ms=0)
    passed = Gate(
        evaluation_id="e2",
        evaluation_version=1,
        pair="BTC-USDT",
        dataset_sha256=dataset.sha256,
    )
    for version_id, gate in (
        ("v2", passed),
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


@pytest.mark.catalogue("I20")
def test_I20_candles_that_an_older_release_kept_in_hashes_are_read_as_they_were(
    upgraded: ValkeyStore,
):
    client, open_ms = upgraded.connection.money, MINUTE_MS * (480 * 58_000 + np.arange(900))
    prices = {name: open_ms / (n + 3.0) for n, name in enumerate(VALUES)}
    candles = Candles(
        open_ms=open_ms,
        open=prices["open"],
        high=prices["high"],
        low=prices["low"],
        close=prices["close"],
        volume=prices["volume"],
    )
    candles = candles.take(np.delete(np.arange(900), [0, 7, 480, 899]))
    for at_ms, *values in map(candles.row, range(len(candles))):
        chunk, slot = divmod(at_ms // MINUTE_MS, 480)
        client.hset(f"c:SOL-USDT:1m:{chunk}", struct.pack(">H", slot), struct.pack("<5d", *values))
        client.zadd("cidx:SOL-USDT:1m", {str(chunk): chunk})
    bounds = {"earliest": int(candles.open_ms[0]), "latest": int(candles.open_ms[-1]), "count": 896}
    client.hset("cmeta:SOL-USDT:1m", mapping=bounds)

    upgraded.load_functions()

    found = upgraded.read_candles("SOL-USDT", "1m", 0, 2**53)
    for name in ("open_ms", *VALUES):
        np.testing.assert_array_equal(getattr(found, name), getattr(candles, name))
    again = upgraded.write_candles("SOL-USDT", "1m", candles)
    assert again == 0
    assert upgraded.candle_bounds("SOL-USDT", "1m") == (*list(bounds.values())[:2], 896)
