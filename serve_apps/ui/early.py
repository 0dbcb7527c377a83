"""What a page asks for first, so that the browser does so while the page's modules are on their way."""

import re
from urllib.parse import urlencode

from starlette.requests import Request

from desk.market.interval import INTERVAL_MS

FIRST_BARS = 1_500
"""Candles of the first chart, as `lib/insights_state.js` has it."""
MOST_BARS = 5_000
_PAIR = re.compile(r"[A-Z0-9]+-[A-Z]+")


def nothing(_: Request) -> list[str]:
    """A page that asks when its modules are there."""
    return []


def first_chart(request: Request) -> list[str]:
    """Paths that `insights.js` asks for with the same parameters; others would be asked for in vain."""
    given = request.query_params
    paths = ["/market-data/pairs"]
    pair, interval, bars = given.get("pair", ""), given.get("interval", "1m"), given.get("bars", "")
    if not _PAIR.fullmatch(pair) or interval not in INTERVAL_MS or "at" in given:
        return paths
    limit = min(int(bars), MOST_BARS) if re.fullmatch(r"[1-9]\d{2,3}", bars) else FIRST_BARS
    series = urlencode({"pair": pair, "interval": interval, "limit": limit})
    trades = urlencode({"pair": pair, "limit": 200})
    return [f"/market-data/candles?{series}", *paths, f"/trades?{trades}"]
