"""What a decision on an account rests on, read at once."""

from collections.abc import Sequence
from typing import cast

from desk.store.memory_state import MemoryState
from desk.store.port import Glance, Held, Listed, Store, Wanted


class MemoryGlance:
    """The single reads, with nothing in between."""

    _state: MemoryState

    def glance(
        self,
        account: str,
        wanted: Sequence[Wanted] = (),
        *,
        order_id: str = "",
        listed: Sequence[Listed] = (),
        held: Held | None = None,
    ) -> Glance:
        store = cast("Store", self)
        with self._state.lock:
            return Glance(
                order=store.order(order_id),
                ledger=store.ledger(account),
                active_orders=store.active_orders(account),
                kill_reason=store.kill_reason(account),
                docs=[store.get(kind, key) for kind, key in wanted],
                lists=[store.list(kind, start_ms=start_ms) for kind, start_ms in listed],
                after=None
                if held is None
                else store.candles_after(held.pair, held.interval, held.first_ms, held.last_ms),
            )
