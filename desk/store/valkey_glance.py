"""What a decision on an account rests on, in one round trip to the Redis-protocol store."""

from collections.abc import Sequence
from typing import Any

from desk.store.codec import from_json
from desk.store.connection import Connection
from desk.store.port import Glance, Held, Listed, Wanted
from desk.store.rows import doc_of
from desk.store.valkey_candles import after_arguments, after_of
from desk.store.valkey_documents import docs_of, list_arguments
from desk.store.valkey_money import ledger_of
from desk.trading.orders import Order


class ValkeyGlance:
    """Reads that the server carries out one after the other, sent and answered together."""

    _connection: Connection

    def glance(
        self,
        account: str,
        wanted: Sequence[Wanted] = (),
        *,
        order_id: str = "",
        listed: Sequence[Listed] = (),
        held: Held | None = None,
    ) -> Glance:
        def ask() -> list[Any]:
            pipeline = self._connection.money.pipeline(transaction=False)
            pipeline.hget(f"ord:{order_id}", "row")
            pipeline.hmget(f"led:{account}", "v", "row")
            pipeline.fcall_ro("rows_of", 0, f"ordx:open:{account}", "ord:")
            for scope in (account, "all"):
                pipeline.hget(f"risk:kill:{scope}", "reason")
            for kind, key in wanted:
                pipeline.hmget(f"doc:{kind.name}/{key}", "v", "at_ms", "row")
            for kind, start_ms in listed:
                pipeline.fcall_ro("doc_list", 0, *list_arguments(kind, start_ms=start_ms))
            if held is not None:
                pipeline.fcall_ro("candles_after", 0, *after_arguments(held))
            return pipeline.execute()

        order, (version, row), active, *rest = self._connection.with_functions(ask)
        reasons, rows, rest = rest[:2], rest[2 : 2 + len(wanted)], rest[2 + len(wanted) :]
        return Glance(
            order=None if order is None else from_json(Order, order),
            ledger=None if version is None else ledger_of(version, row),
            active_orders=[from_json(Order, one) for one in active],
            kill_reason=next((one.decode() for one in reasons if one is not None), None),
            docs=[
                None
                if found[0] is None
                else doc_of(kind, key, int(found[0]), int(found[1]), found[2])
                for (kind, key), found in zip(wanted, rows, strict=True)
            ],
            lists=[
                docs_of(kind, flat) for (kind, _), flat in zip(listed, rest, strict=held is None)
            ],
            after=None if held is None else after_of(held.interval, rest[len(listed)]),
        )
