"""Alerts whose cause is gone are closed, by the table in `desk.alert_codes`; old closed ones are forgotten."""

from collections.abc import Callable

import structlog

from actors.alerts import resolve_alert
from actors.store_calls import stored
from desk.alert_codes import CODES, Ends, about_of, has_lapsed, is_over_for_run
from desk.clock import Clock
from desk.market.gaps import GapStatus
from desk.runs import Alert, RunStatus
from desk.store import kinds
from desk.store.port import Doc, Store
from desk.trading.breaker import BreakerState
from desk.trading.orders import OrderState
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

LOOK_EVERY_S = 5.0
MOST_ALERTS = 2_000
"""Rows that are kept and looked at, newest first."""
MOST_GAPS = 5_000
_UNSETTLED = (OrderState.UNKNOWN, OrderState.QUARANTINED, OrderState.SENDING)


class AlertLife:
    """The observer's part in alerts. What is judged is the stored row that an alert is about."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._looked_s = float("-inf")

    async def look(self) -> int:
        """Close what is over, where a look is due; returns how many were closed."""
        if monotonic_s() - self._looked_s < LOOK_EVERY_S:
            return 0
        self._looked_s = monotonic_s()
        return await stored(self.close_all)

    def close_all(self) -> int:
        """Look at every alert that is not resolved; returns how many were closed."""
        docs = self._store.list(kinds.ALERTS, limit=MOST_ALERTS)
        now_ms, closed = self._clock.now_ms(), 0
        for doc in docs:
            if doc.value.status != "resolved" and self._is_over(doc, now_ms):
                log.info("alert_resolved", alert_id=doc.key)
                resolve_alert(self._store, doc.key, at_ms=now_ms, seen_version=doc.version)
                closed += 1
        self._forget()
        return closed

    def _is_over(self, doc: Doc[Alert], now_ms: int) -> bool:
        alert, about = doc.value, about_of(doc.value)
        # A drift is about a run and its version.
        run = self._store.get(kinds.RUNS, about.partition(":")[0])
        if run is not None and is_over_for_run(alert, run.value):
            return True
        if has_lapsed(alert, raised_ms=doc.at_ms, now_ms=now_ms):
            return run is None or run.value.status is RunStatus.FAILED
        code = CODES.get(alert.code)
        if run is not None or code is None or code.ends is not Ends.ROW:
            return False
        return _ROWS[alert.code](self._store, alert.code, about)

    def _forget(self) -> None:
        for key in self._store.keys_beyond(kinds.ALERTS, MOST_ALERTS):
            doc = self._store.get(kinds.ALERTS, key)
            if doc is not None and doc.value.status == "resolved":
                self._store.delete(kinds.ALERTS, key)


def _breaker_is_closed(store: Store, _: str, account: str) -> bool:
    found = store.get(kinds.BREAKERS, account)
    return found is None or found.value.state is BreakerState.OK


def _actor_is_released(store: Store, _: str, name: str) -> bool:
    found = store.get(kinds.ACTORS, name)
    return found is None or found.value.status != "quarantined"


def _venue_is_well(store: Store, code: str, account: str) -> bool:
    found = store.get(kinds.VENUES, account)
    return found is None or found.value.condition.value != code


def _series_is_whole(store: Store, _: str, series: str) -> bool:
    waiting = (GapStatus.OPEN, GapStatus.HEALING)
    return not any(
        f"{doc.value.pair}:{doc.value.interval}" == series and doc.value.status in waiting
        for doc in store.list(kinds.GAPS, limit=MOST_GAPS)
    )


def _feed_is_reached(store: Store, _: str, source_id: str) -> bool:
    rows = [doc.value for doc in store.list(kinds.SOURCES)]
    return all(row.status == "ok" or not row.enabled for row in rows if row.source_id == source_id)


def _order_is_settled(store: Store, _: str, client_order_id: str) -> bool:
    order = store.order(client_order_id)
    return order is None or order.state not in _UNSETTLED


def _order_has_ended(store: Store, _: str, client_order_id: str) -> bool:
    order = store.order(client_order_id)
    return order is None or order.state.is_terminal


_ROWS: dict[str, Callable[[Store, str, str], bool]] = {
    "circuit_breaker": _breaker_is_closed,
    "actor_quarantined": _actor_is_released,
    "exchange_maintenance": _venue_is_well,
    "exchange_ban": _venue_is_well,
    "candle_gap": _series_is_whole,
    "feed_route_failed": _feed_is_reached,
    "unresolved_client_order": _order_is_settled,
    "cancel_not_effective": _order_has_ended,
}
assert set(_ROWS) == {each.code for each in CODES.values() if each.ends is Ends.ROW}
