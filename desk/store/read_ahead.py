"""What a reader is about to ask for one by one, read in one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from desk.ids import Pair
from desk.market.interval import Interval
from desk.store.port import (
    LIST_LIMIT,
    CandlesAfter,
    Doc,
    Glance,
    Held,
    Kind,
    Listed,
    Store,
    Wanted,
)
from desk.trading.ledger import Ledger
from desk.trading.orders import Order


def read_ahead(
    store: Store,
    account: str,
    wanted: Sequence[Wanted],
    *,
    order_id: str = "",
    listed: Sequence[Listed] = (),
    held: Held | None = None,
) -> Store:
    """The same store, which answers for these documents, lists of documents, this account and what
    follows the held candles as they stand now.

    For one look at a moment: nothing of it is read again, so keep it no longer than that. One that
    has read all this ahead is returned as it is. Raises `StoreUnavailable`.
    """
    if isinstance(store, _ReadAhead) and store.has(account, wanted, order_id):
        return cast("Store", store)
    also = _Also(order_id=order_id, listed=listed, held=held)
    seen = store.glance(account, wanted, order_id=order_id, listed=listed, held=held)
    return cast("Store", _ReadAhead(store, account, wanted, also, seen))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Also:
    order_id: str
    listed: Sequence[Listed]
    held: Held | None


class _ReadAhead:
    def __init__(
        self, store: Store, account: str, wanted: Sequence[Wanted], also: _Also, seen: Glance
    ) -> None:
        self._store, self._account, self._also, self._seen = store, account, also, seen
        names = ((kind.name, key) for kind, key in wanted)
        self._docs = dict(zip(names, seen.docs, strict=True))
        self._lists = {
            kind.name: (start_ms, docs)
            for (kind, start_ms), docs in zip(also.listed, seen.lists, strict=True)
        }

    def has(self, account: str, wanted: Sequence[Wanted], order_id: str) -> bool:
        names = {(kind.name, key) for kind, key in wanted}
        return (account, order_id) == (self._account, self._also.order_id) and names <= set(
            self._docs
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get[T](self, kind: Kind[T], key: str) -> Doc[T] | None:
        name = (kind.name, key)
        return self._docs[name] if name in self._docs else self._store.get(kind, key)

    def candles_after(
        self, pair: Pair, interval: Interval, first_ms: int, last_ms: int
    ) -> CandlesAfter | None:
        if self._also.held == Held(
            pair=pair, interval=interval, first_ms=first_ms, last_ms=last_ms
        ):
            return self._seen.after
        return self._store.candles_after(pair, interval, first_ms, last_ms)

    def order(self, client_order_id: str) -> Order | None:
        if client_order_id == self._also.order_id:
            return self._seen.order
        return self._store.order(client_order_id)

    def ledger(self, account: str) -> Ledger | None:
        return self._seen.ledger if account == self._account else self._store.ledger(account)

    def active_orders(self, account: str) -> list[Order]:
        if account == self._account:
            return self._seen.active_orders
        return self._store.active_orders(account)

    def kill_reason(self, account: str) -> str | None:
        if account == self._account:
            return self._seen.kill_reason
        return self._store.kill_reason(account)

    def list[T](
        self,
        kind: Kind[T],
        *,
        start_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = LIST_LIMIT,
    ) -> list[Doc[T]]:
        since_ms, docs = self._lists.get(kind.name, (0, None))
        is_whole = docs is not None and len(docs) < LIST_LIMIT and limit == LIST_LIMIT
        if docs is None or not is_whole or start_ms is None or before_ms is not None:
            return self._store.list(kind, start_ms=start_ms, before_ms=before_ms, limit=limit)
        if start_ms < since_ms:
            return self._store.list(kind, start_ms=start_ms)
        return [doc for doc in docs if doc.at_ms >= start_ms]
