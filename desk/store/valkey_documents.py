"""Documents, events and metric samples in the Redis-protocol store."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis
import structlog

from desk.errors import StoreUnavailable
from desk.store.answers import accepted, envelope
from desk.store.codec import from_json, to_json
from desk.store.connection import Argument, Connection
from desk.store.layout import MAX_BLOCK_MS, METRIC_SAMPLES_KEPT, MONEY_REQUEST_TTL_S
from desk.store.port import LIST_LIMIT, Doc, Event, Kind, Sample, Stream
from desk.store.rows import doc_of

_log = structlog.get_logger(__name__)


class ValkeyDocuments:
    """Versioned documents, one hash each, with an index by time per kind."""

    _connection: Connection

    def put[T](
        self,
        kind: Kind[T],
        key: str,
        value: T,
        *,
        at_ms: int,
        expected_version: int | None = None,
        event: Event | None = None,
        request_id: str = "",
        remembered_s: int = MONEY_REQUEST_TTL_S,
    ) -> Doc[T]:
        name = f"{kind.name}/{key}"
        expected = {} if expected_version is None else {f"doc:{name}": expected_version}
        answer = self._connection.change(
            "doc_put",
            *envelope(request_id=request_id, event=event, remembered_s=remembered_s),
            name,
            kind.name,
            key,
            at_ms,
            "" if expected_version is None else expected_version,
            to_json(kind.type, value),
        )
        version, stored_at_ms, row = accepted(answer, expected=expected) or []
        return _doc(kind, key.encode(), version, stored_at_ms, row)

    def get[T](self, kind: Kind[T], key: str) -> Doc[T] | None:
        version, at_ms, row = self._connection.run(
            lambda: self._connection.money.hmget(f"doc:{kind.name}/{key}", "v", "at_ms", "row")
        )
        return None if version is None else _doc(kind, key.encode(), version, at_ms, row)

    def keys_beyond[T](self, kind: Kind[T], kept: int, *, limit: int = 200) -> list[str]:
        if limit <= 0:
            return []
        index = f"docx:{kind.name}"
        found: list[bytes] = self._connection.run(
            lambda: self._connection.money.zrevrange(index, kept, kept + limit - 1)
        )
        return [key.decode() for key in found]

    def list[T](
        self,
        kind: Kind[T],
        *,
        start_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = LIST_LIMIT,
    ) -> list[Doc[T]]:
        asked = list_arguments(kind, start_ms=start_ms, before_ms=before_ms, limit=limit)
        return docs_of(kind, self._connection.read("doc_list", *asked, bulk=True))

    def delete[T](self, kind: Kind[T], key: str) -> None:
        self._connection.change("doc_delete", *envelope(), f"{kind.name}/{key}", kind.name, key)


class ValkeyEvents:
    """Event streams, and capped streams of metric samples."""

    _connection: Connection

    def emit(self, event: Event) -> str:
        answer = accepted(self._connection.change("emit", *envelope(event=event))) or []
        return answer[0].decode()

    def read_events(
        self, after: Mapping[Stream, str], *, limit: int = 500, block_ms: int | None = None
    ) -> list[Event]:
        if not after:
            return []
        streams = {stream.value: entry_id for stream, entry_id in after.items()}
        waits = block_ms is not None and block_ms > 0
        client = self._connection.blocking if waits else self._connection.bulk
        block = min(block_ms, MAX_BLOCK_MS) if block_ms is not None and waits else None
        found: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]] = self._connection.run(
            lambda: client.xread(streams, count=limit, block=block)
        )
        return [
            _event(Stream(name.decode()), entry_id, fields)
            for name, entries in found or []
            for entry_id, fields in entries
        ]

    def last_event_ids(self) -> dict[Stream, str]:
        return {
            stream: self._connection.run(lambda s=stream: self._last_id(s)) for stream in Stream
        }

    def trim_events(self, stream: Stream, keep: int) -> None:
        self._connection.run(
            lambda: self._connection.bulk.xtrim(stream.value, maxlen=keep, approximate=False)
        )

    def record(self, samples: Sequence[Sample]) -> None:
        if not samples:
            return
        arguments: list[Argument] = [METRIC_SAMPLES_KEPT]
        for sample in samples:
            arguments += [sample.name, sample.recorded_at_ms, to_json(Sample, sample)]
        try:
            self._connection.change("record_samples", *envelope(), *arguments)
        except StoreUnavailable as lost:
            # Metrics never hold up trading: a lost sample is a gap in a chart.
            _log.warning("metric_samples_dropped", count=len(samples), reason=str(lost))

    def samples(self, name: str, *, start_ms: int, end_ms: int, limit: int = 5000) -> list[Sample]:
        entries = self._connection.run(
            lambda: self._connection.bulk.xrange(f"metrics:{name}", min=max(start_ms, 0))
        )
        found = [from_json(Sample, fields[b"sample"]) for _, fields in entries]
        kept = [sample for sample in found if start_ms <= sample.recorded_at_ms < end_ms]
        kept.sort(key=lambda sample: sample.recorded_at_ms)
        return kept[-limit:] if limit > 0 else []

    def _last_id(self, stream: Stream) -> str:
        try:
            facts = self._connection.bulk.xinfo_stream(stream.value)
        except redis.ResponseError as absent:
            if "no such key" in str(absent):
                return "0-0"
            raise
        return cast("bytes", facts["last-generated-id"]).decode()


def list_arguments(
    kind: Kind[Any],
    *,
    start_ms: int | None = None,
    before_ms: int | None = None,
    limit: int = LIST_LIMIT,
) -> list[Argument]:
    """What the function `doc_list` is asked with."""
    highest: Argument = "+inf" if before_ms is None else f"({before_ms}"
    return [kind.name, highest, "-inf" if start_ms is None else start_ms, limit]


def docs_of[T](kind: Kind[T], flat: Sequence[bytes]) -> list[Doc[T]]:
    """What the function `doc_list` answered."""
    return [_doc(kind, *flat[at : at + 4]) for at in range(0, len(flat), 4)]


def _doc[T](kind: Kind[T], key: bytes, version: bytes, at_ms: bytes, row: bytes) -> Doc[T]:
    return doc_of(kind, key.decode(), int(version), int(at_ms), row)


def _event(stream: Stream, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    data = cast("dict[str, Any]", from_json(dict, fields[b"data"]))
    return Event(
        topic=fields[b"topic"].decode(),
        key=fields[b"key"].decode(),
        data=data,
        at_ms=int(fields[b"at_ms"]),
        trace_id=fields[b"trace_id"].decode(),
        stream=stream,
        event_id=entry_id.decode(),
    )
