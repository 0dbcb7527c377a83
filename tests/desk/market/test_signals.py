"""What a webhook's body says, however odd it is."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.market.signals import MAX_TEXT_CHARS, STALE_AFTER_MS, ParseStatus, parse, receive

NOW_MS = 1_800_000_000_000


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def alert(**changes: Any) -> bytes:
    row = {
        "ticker": "BTCUSDT.P",
        "interval": "60",
        "time": iso(NOW_MS - 60 * MINUTE_MS),
        "timenow": iso(NOW_MS),
        "close": "43000.5",
        "strategy.order.action": "buy",
    }
    return json.dumps(row | changes).encode()


def test_a_full_alert_gives_pair_interval_bar_close_and_side() -> None:
    signal = parse(receive("main", alert(), received_ms=NOW_MS))
    assert signal.parse_status is ParseStatus.OK
    assert (signal.symbol, signal.interval, signal.price) == ("BTC-USDT", "1h", 43000.5)
    assert (signal.side, signal.bar_open_ms) == ("buy", NOW_MS - 60 * MINUTE_MS)
    assert signal.ts_event_ms == NOW_MS


@pytest.mark.parametrize(
    "missing",
    [
        {"ticker": "GOLD"},
        {"interval": "W"},
        {"close": "NaN"},
        {"close": "-1"},
        {"close": True},
        {"time": "yesterday"},
        {"timenow": ""},
    ],
)
def test_an_unknown_field_makes_it_partial(missing: dict[str, Any]) -> None:
    signal = parse(receive("main", alert(**missing), received_ms=NOW_MS))
    assert signal.parse_status is ParseStatus.PARTIAL


@given(st.integers(-20 * MINUTE_MS, 20 * MINUTE_MS))
@example(STALE_AFTER_MS)
@example(-STALE_AFTER_MS - 1)
def test_it_is_stale_exactly_when_its_clock_is_more_than_five_minutes_off(off_ms: int) -> None:
    signal = parse(receive("main", alert(timenow=iso(NOW_MS + off_ms)), received_ms=NOW_MS))
    assert (signal.parse_status is ParseStatus.STALE) == (abs(off_ms) > STALE_AFTER_MS)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
@example(b"[" * 16_000)
@example(b'{"ticker": {"a": 1}, "close": [], "time": 5, "timenow": {}}')
@example(b'{"close": 1' + b"0" * 400 + b"}")
@example(b'{"close": "1e999", "timenow": "9999-12-31T23:59:59-23:59"}')
def test_no_body_can_make_parsing_fail(body: bytes) -> None:
    signal = parse(receive("main", body, received_ms=NOW_MS))
    assert len(signal.text) <= MAX_TEXT_CHARS
    assert signal.parse_status is not ParseStatus.OK


def test_a_body_with_its_own_time_has_one_id_for_ever_and_a_text_one_per_minute() -> None:
    def name(body: bytes, at_ms: int) -> str:
        return receive("main", body, received_ms=at_ms).external_id

    assert name(alert(), NOW_MS) == name(alert(), NOW_MS + MINUTE_MS)
    assert name(b"buy", NOW_MS) == name(b"buy", NOW_MS + 1)
    assert name(b"buy", NOW_MS) != name(b"buy", NOW_MS + MINUTE_MS)
    assert name(alert(), NOW_MS) != receive("other", alert(), received_ms=NOW_MS).external_id
