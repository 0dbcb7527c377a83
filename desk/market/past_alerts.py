"""Alerts of the past, as TradingView exports them or as they were once sent: one row, one receipt.

A row is a receipt as if it had been received the moment it fired: what a feature may know of it, and
when, is the same as for an alert that came by the webhook.
"""

from collections.abc import Mapping

from desk.clock import MINUTE_MS, from_iso
from desk.errors import BadInput
from desk.market.signals import MAX_BODY_BYTES, SignalReceipt, read_object, receive, without_secret

MESSAGES = ("description", "message")
"""Names of the column with what the alert said."""
TIMES = ("time", "fired_at", "time_ms")
"""Names of the column with when it fired: ISO (UTC where it names no zone), or ms."""
AHEAD_MS = 5 * MINUTE_MS


def past_receipt(
    source_id: str, row: Mapping[str, object], *, now_ms: int, secret: str | None = None
) -> SignalReceipt:
    """Read one row with a message and a time. Raises `BadInput` that names the column.

    Column names count in any case. The message is kept as it stands, except for the secret that
    alerts carry now and the value of its own field `secret`, which was theirs then.
    """
    cells = {str(name).strip().lower(): value for name, value in row.items()}
    message = _cell(cells, MESSAGES)
    if not isinstance(message, str) or not message.strip():
        raise BadInput(MESSAGES[0], "is empty: there is nothing to keep")
    return _received(source_id, message, _fired_ms(cells), now_ms=now_ms, secret=secret)


def past_body(
    source_id: str, body: str, *, now_ms: int, secret: str | None = None
) -> SignalReceipt:
    """Read one alert as it was sent, a JSON object with its own `timenow`. Raises `BadInput`."""
    said = read_object(body)
    if not said:
        raise BadInput("line", "is no JSON object")
    return _received(
        source_id, body, _ms_of("timenow", said["timenow"]), now_ms=now_ms, secret=secret
    )


def _received(
    source_id: str, message: str, fired_ms: int, *, now_ms: int, secret: str | None
) -> SignalReceipt:
    try:
        body = message.encode()
    except UnicodeEncodeError:
        raise BadInput("line", "is not UTF-8") from None
    if len(body) > MAX_BODY_BYTES:
        raise BadInput("line", f"holds {len(body)} bytes, at most {MAX_BODY_BYTES} are kept")
    if fired_ms > now_ms + AHEAD_MS:
        raise BadInput(TIMES[0], "is in the future")
    kept = without_secret(message, secret) if secret else message
    own = read_object(kept).get("secret")
    is_known = not isinstance(own, str) or own in {"", "[secret]"}
    return receive(source_id, kept.encode(), received_ms=fired_ms, secret=None if is_known else own)


def _fired_ms(cells: Mapping[str, object]) -> int:
    name = next((name for name in TIMES if cells.get(name) not in (None, "")), TIMES[0])
    return _ms_of(name, cells.get(name))


def _ms_of(name: str, value: object) -> int:
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            fired_ms = value
        else:
            text = str(value or "").strip()
            fired_ms = int(text) if text.isdecimal() else from_iso(text)
    except (ValueError, OverflowError):
        raise BadInput(
            name, f"was {str(value)[:40]!r}, expected a time as 2026-01-31T12:00:00Z"
        ) from None
    if fired_ms < 0:
        raise BadInput(name, f"was {str(value)[:40]!r}, which is before 1970")
    return fired_ms


def _cell(cells: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((cells[name] for name in names if name in cells), None)
