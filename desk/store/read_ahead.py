"""What a reader is about to ask for one by one, read in one round trip."""

from collections.abc import Sequence
from typing import Any, cast

from desk.store.port import Doc, Kind, Store, Wanted
from desk.trading.ledger import Ledger
from desk.trading.orders import Order


def read_ahead(
    store: Store, account: str, wanted: Sequence[Wanted], *, order_id: str = ""
) -> Store:
    """The same store, which answers for these documents and this account as they stand now.

    For one look at a moment: nothing of it is read again, so keep it no longer than that. One that
    has read all this ahead is returned as it is. Raises `StoreUnavailable`.
    """
    if isinstance(store, _ReadAhead) and store.has(account, wanted, order_id):
        return cast("Store", store)
    return cast("Store", _ReadAhead(store, account, wanted, order_id))


class _ReadAhead:
    def __init__(self, store: Store, account: str, wanted: Sequence[Wanted], order_id: str) -> None:
        self._store, self._account, self._order_id = store, account, order_id
        self._seen = store.glance(account, wanted, order_id=order_id)
        names = ((kind.name, key) for kind, key in wanted)
        self._docs = dict(zip(names, self._seen.docs, strict=True))

    def has(self, account: str, wanted: Sequence[Wanted], order_id: str) -> bool:
        names = {(kind.name, key) for kind, key in wanted}
        return (account, order_id) == (self._account, self._order_id) and names <= set(self._docs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get[T](self, kind: Kind[T], key: str) -> Doc[T] | None:
        name = (kind.name, key)
        return self._docs[name] if name in self._docs else self._store.get(kind, key)

    def order(self, client_order_id: str) -> Order | None:
        if client_order_id == self._order_id:
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
