"""Documents, events and metric samples in memory."""

import time
from collections.abc import Mapping, Sequence

from desk.errors import VersionConflict
from desk.store.codec import from_json, to_json
from desk.store.layout import MONEY_REQUEST_TTL_S
from desk.store.memory_state import DocRow, MemoryState
from desk.store.port import LIST_LIMIT, Doc, Event, Kind, Sample, Stream
from desk.store.rows import doc_of


class MemoryDocuments:
    """Versioned documents, kept as JSON so that they come back as from a server."""

    _state: MemoryState

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
        what, row = f"doc_put {kind.name}/{key}", to_json(kind.type, value)
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id)
            if answer is None:
                docs = self._state.docs[kind.name]
                version = docs[key].version if key in docs else 0
                if expected_version not in {None, version}:
                    expected = expected_version or 0
                    raise VersionConflict(f"doc:{kind.name}/{key}", expected, version)
                docs[key] = DocRow(version=version + 1, at_ms=at_ms, row=row)
                facts = (b"%d" % (version + 1), b"%d" % at_ms, row)
                answer = self._state.finish(what, request_id, event, *facts)
        stored_version, stored_at_ms, stored_row = answer
        stored = DocRow(version=int(stored_version), at_ms=int(stored_at_ms), row=stored_row)
        return _doc(kind, key, stored)

    def get[T](self, kind: Kind[T], key: str) -> Doc[T] | None:
        with self._state.lock:
            found = self._state.docs[kind.name].get(key)
            return None if found is None else _doc(kind, key, found)

    def keys_beyond[T](self, kind: Kind[T], kept: int, *, limit: int = 200) -> list[str]:
        with self._state.lock:
            rows = self._state.docs[kind.name].items()
            found = sorted(((row.at_ms, key.encode()) for key, row in rows), reverse=True)
        return [key.decode() for _, key in found[kept : kept + limit]]

    def list[T](
        self,
        kind: Kind[T],
        *,
        start_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = LIST_LIMIT,
    ) -> list[Doc[T]]:
        with self._state.lock:
            found = [
                (row.at_ms, key.encode(), _doc(kind, key, row))
                for key, row in self._state.docs[kind.name].items()
                if (start_ms is None or row.at_ms >= start_ms)
                and (before_ms is None or row.at_ms < before_ms)
            ]
        found.sort(key=lambda entry: entry[:2], reverse=True)
        return [doc for _, _, doc in found[:limit]]

    def delete[T](self, kind: Kind[T], key: str) -> None:
        with self._state.lock:
            self._state.docs[kind.name].pop(key, None)


class MemoryEvents:
    """Event streams numbered from 1, and capped metric samples."""

    _state: MemoryState

    def emit(self, event: Event) -> str:
        with self._state.lock:
            return self._state.append(event)

    def read_events(
        self, after: Mapping[Stream, str], *, limit: int = 500, block_ms: int | None = None
    ) -> list[Event]:
        deadline_s = time.monotonic() + (block_ms or 0) / 1000
        with self._state.lock:
            while True:
                found = [event for stream in after for event in self._after(stream, after, limit)]
                left_s = deadline_s - time.monotonic()
                if found or left_s <= 0 or not after:
                    return found
                self._state.lock.wait(left_s)

    def last_event_ids(self) -> dict[Stream, str]:
        with self._state.lock:
            return {stream: f"{number}-0" for stream, number in self._state.last_entry.items()}

    def trim_events(self, stream: Stream, keep: int) -> None:
        with self._state.lock:
            entries = self._state.streams[stream]
            del entries[: max(len(entries) - keep, 0)]

    def record(self, samples: Sequence[Sample]) -> None:
        with self._state.lock:
            for sample in samples:
                self._state.metrics[sample.name].append(to_json(Sample, sample))

    def samples(self, name: str, *, start_ms: int, end_ms: int, limit: int = 5000) -> list[Sample]:
        with self._state.lock:
            found = [from_json(Sample, row) for row in self._state.metrics[name]]
        kept = [sample for sample in found if start_ms <= sample.recorded_at_ms < end_ms]
        kept.sort(key=lambda sample: sample.recorded_at_ms)
        return kept[-limit:] if limit > 0 else []

    def _after(self, stream: Stream, after: Mapping[Stream, str], limit: int) -> list[Event]:
        seen = int(after[stream].partition("-")[0])
        newer = [event for number, event in self._state.streams[stream] if number > seen]
        return newer[:limit]


def _doc[T](kind: Kind[T], key: str, row: DocRow) -> Doc[T]:
    return doc_of(kind, key, row.version, row.at_ms, row.row)
