"""What a decision on an account rests on, in one round trip to the Redis-protocol store."""

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from desk.store.codec import from_json
from desk.store.connection import Argument, Connection
from desk.store.port import Doc, Glance, Held, Kind, Listed, Wanted
from desk.store.rows import doc_of
from desk.store.valkey_candles import after_arguments, after_of
from desk.store.valkey_documents import docs_of, list_arguments
from desk.store.valkey_money import ledger_of
from desk.trading.orders import Order

MOST_DECODED = 200
"""Documents of which the last row is kept beside what it says."""


class ValkeyGlance:
    """Reads that the server carries out one after the other, asked for and answered as one."""

    _connection: Connection
    _decoded: dict[tuple[str, str], tuple[bytes, Doc[Any]]]
    """By kind and key: a row as it was last seen, and what it says."""

    def glance(
        self,
        account: str,
        wanted: Sequence[Wanted] = (),
        *,
        order_id: str = "",
        listed: Sequence[Listed] = (),
        held: Held | None = None,
    ) -> Glance:
        reads: list[tuple[str, list[Argument]]] = [
            ("HMGET", [f"ord:{order_id}", "row"]),
            ("HMGET", [f"led:{account}", "v", "row"]),
            ("rows_of", [f"ordx:open:{account}", "ord:"]),
            *(("HMGET", [f"risk:kill:{scope}", "reason"]) for scope in (account, "all")),
            *(("HMGET", [f"doc:{kind.name}/{key}", "v", "at_ms", "row"]) for kind, key in wanted),
            *(("doc_list", list_arguments(kind, start_ms=start_ms)) for kind, start_ms in listed),
        ]
        if held is not None:
            reads.append(("candles_after", after_arguments(held)))
        answers: list[Any] = self._connection.read("reads", *_flat(reads))
        [order], (version, row), active, *rest = answers
        reasons, rows, rest = rest[:2], rest[2 : 2 + len(wanted)], rest[2 + len(wanted) :]
        return Glance(
            order=None if order is None else from_json(Order, order),
            ledger=None if version is None else ledger_of(version, row),
            active_orders=[from_json(Order, one) for one in active],
            kill_reason=next((one.decode() for [one] in reasons if one is not None), None),
            docs=[self._doc(*asked, *found) for asked, found in zip(wanted, rows, strict=True)],
            lists=[
                docs_of(kind, flat) for (kind, _), flat in zip(listed, rest, strict=held is None)
            ],
            after=None if held is None else after_of(held.interval, rest[len(listed)]),
        )

    def _doc(
        self, kind: Kind[Any], key: str, version: bytes | None, at_ms: bytes, row: bytes
    ) -> Doc[Any] | None:
        """A document as it stands; one that has not changed since the last glance is not decoded again."""
        if version is None:
            return None
        known = self._decoded.get((kind.name, key))
        if known is not None and known[0] == row:
            return replace(known[1], version=int(version), at_ms=int(at_ms))
        found = doc_of(kind, key, int(version), int(at_ms), row)
        if is_dataclass(kind.type):  # others could be changed by who got them
            if len(self._decoded) >= MOST_DECODED:
                self._decoded.clear()
            self._decoded[kind.name, key] = row, found
        return found


def _flat(reads: Sequence[tuple[str, Sequence[Argument]]]) -> Iterator[Argument]:
    for name, arguments in reads:
        yield from (name, len(arguments), *arguments)
