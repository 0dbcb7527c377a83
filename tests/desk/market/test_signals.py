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
        {"interval": "1m"},
        {"interval": "7D"},
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


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("W", "1w"), ("1W", "1w"), ("3D", "3d"), ("M", "1M"), ("1M", "1M"), ("D", "1d"), ("1", "1m")],
)
def test_days_weeks_and_months_have_our_names(theirs: str, ours: str) -> None:
    signal = parse(receive("main", alert(interval=theirs), received_ms=NOW_MS))
    assert (signal.interval, signal.parse_status) == (ours, ParseStatus.OK)


def escaped(text: str, which: list[bool]) -> str:
    """A text inside a JSON string, the chosen letters as escapes."""
    return "".join(
        f"\\u{ord(letter):04x}" if chosen else letter
        for letter, chosen in zip(text, which, strict=True)
    )


SECRET = "open-sesame"
CHOICES = st.lists(st.booleans(), min_size=len(SECRET), max_size=len(SECRET))


@given(CHOICES, CHOICES, st.text(max_size=40))
@example([True] * len(SECRET), [False] * len(SECRET), "")
def test_no_way_of_writing_the_secret_leaves_it_in_what_is_kept(
    name: list[bool], value: list[bool], beside: str
) -> None:
    # Twice under one name: a parser would show the second only.
    body = f'{{"secret": "{escaped(SECRET, value)}", "x": "{escaped(SECRET, name)}", "x": {json.dumps(beside)}}}'

    kept = receive("main", body.encode(), received_ms=NOW_MS, secret=SECRET)

    assert SECRET not in kept.raw
    pairs = json.loads(kept.raw, object_pairs_hook=list)
    assert pairs == [("secret", "[secret]"), ("x", "[secret]"), ("x", beside)]


def test_what_is_hashed_says_nothing_of_the_secret() -> None:
    def sent(secret: str) -> tuple[str, str]:
        body = json.dumps({"secret": secret, "timenow": iso(NOW_MS)}).encode()
        kept = receive("main", body, received_ms=NOW_MS, secret=secret)
        return kept.external_id, kept.raw_ref

    assert sent("one") == sent("another")


@pytest.mark.catalogue("S11")
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
