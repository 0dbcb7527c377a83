"""What a decision on an account rests on, read at once."""

from collections.abc import Sequence
from typing import cast

from desk.store.memory_state import MemoryState
from desk.store.port import Glance, Store, Wanted


class MemoryGlance:
    """The single reads, with nothing in between."""

    _state: MemoryState

    def glance(self, account: str, wanted: Sequence[Wanted] = (), *, order_id: str = "") -> Glance:
        store = cast("Store", self)
        with self._state.lock:
            return Glance(
                order=store.order(order_id),
                ledger=store.ledger(account),
                active_orders=store.active_orders(account),
                kill_reason=store.kill_reason(account),
                docs=[store.get(kind, key) for kind, key in wanted],
            )
