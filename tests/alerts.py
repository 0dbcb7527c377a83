"""Alerts as TradingView sends them, for tests of what is made of them."""

import json

from desk.clock import to_iso
from desk.market.signals import SignalReceipt, receive


def alert(
    side: str, received_ms: int, *, source_id: str = "feed", ticker: str = "BTCUSDT.P"
) -> SignalReceipt:
    """A sound alert on one pair, received at a time (wall)."""
    body = {
        "ticker": ticker,
        "interval": "1",
        "time": to_iso(received_ms - 60_000),
        "timenow": to_iso(received_ms),
        "close": "40000.5",
        "side": side,
    }
    return receive(source_id, json.dumps(body).encode(), received_ms=received_ms)
