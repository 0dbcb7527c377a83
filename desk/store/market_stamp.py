"""Market time of a receipt, which is stamped with the wall's.

It is the wall's own while the market runs with the wall; else the venue's clock says it once, when
the receipt is kept, so that a later reading of that clock moves nothing that was decided on.
"""

from dataclasses import replace

from desk.clock import MINUTE_MS, ClockAnchor
from desk.market.signals import SignalReceipt
from desk.store import kinds
from desk.store.port import DocStore

WITH_THE_WALL_MS = MINUTE_MS
"""Apart from each other by more than this at speed 1, market and wall are two clocks."""


def in_market_time(store: DocStore, receipt: SignalReceipt) -> SignalReceipt:
    """The receipt with its market time, where the market does not run with the wall."""
    found = store.get(kinds.STATE, "clock")
    if found is None:
        return receipt
    anchor = ClockAnchor(
        market_ms=int(found.value["market_ms"]),
        wall_ms=int(found.value["wall_ms"]),
        speed=float(found.value["speed"]),
    )
    apart_ms = abs(anchor.market_ms - anchor.wall_ms)
    if anchor.speed == 1.0 and apart_ms <= WITH_THE_WALL_MS:
        return receipt
    return replace(receipt, ts_market_ms=anchor.market_at(receipt.ts_received_ms))
