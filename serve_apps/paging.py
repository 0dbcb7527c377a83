"""Pages of lists, newest first: an opaque cursor names the last row that was given out."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

from desk.errors import BadInput
from desk.store.port import Doc, DocStore, Kind

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
SCAN_LIMIT = 5_000
"""Rows looked at for one page of a filtered list; the cursor goes on from there."""
MAX_MS = 253_402_300_799_999

Moment = Annotated[int | None, Query(ge=0, le=MAX_MS, description="ms UTC, market time.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page of a list."""

    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows per page.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = None


Paged = Annotated[Asked, Depends()]


@dataclass(frozen=True, slots=True)
class Window:
    """A span of market time `[start_ms, end_ms)`; None is open."""

    start_ms: Moment = None
    end_ms: Moment = None

    def __post_init__(self) -> None:
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            raise BadInput(
                "start_ms", f"was {self.start_ms}, expected less than end_ms {self.end_ms}"
            )


Windowed = Annotated[Window, Depends()]
EVER = Window()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the sort time and key of its last row."""

    at_ms: int
    key: str

    def encode(self) -> str:
        """As it travels to the client."""
        return base64.urlsafe_b64encode(f"{self.at_ms}:{self.key}".encode()).decode().rstrip("=")


def decode(cursor: str | None) -> Place | None:
    """Read a cursor back; raises `BadInput` for one that we did not make."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at_ms, _, key = text.partition(":")
        place = Place(int(at_ms), key)
    except (ValueError, binascii.Error):
        place = Place(-1, "")
    if not 0 <= place.at_ms <= MAX_MS:
        raise BadInput("cursor", "was not made by this list: leave it out to start again")
    return place


def page_of[T](
    store: DocStore,
    kind: Kind[T],
    asked: Asked,
    *,
    window: Window = EVER,
    keep: Callable[[T], bool] = lambda _: True,
) -> tuple[list[Doc[T]], str | None]:
    """Read one page of documents with `start_ms <= at_ms < end_ms` that `keep` accepts."""

    def read(before_ms: int | None, count: int) -> Sequence[Doc[T]]:
        return store.list(kind, start_ms=window.start_ms, before_ms=before_ms, limit=count)

    return page_rows(
        read,
        place_of=lambda doc: Place(doc.at_ms, doc.key),
        keep=lambda doc: keep(doc.value),
        asked=asked,
        end_ms=window.end_ms,
    )


def page_rows[R](
    read: Callable[[int | None, int], Sequence[R]],
    *,
    place_of: Callable[[R], Place],
    keep: Callable[[R], bool],
    asked: Asked,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> tuple[list[R], str | None]:
    """Page through `read(before_ms, count)`, which gives rows newest first; it ends at `start_ms`.

    Rows of one millisecond keep their order between reads, so that a page may end among them.
    """
    place = decode(asked.cursor)
    kept: list[R] = []
    scanned = 0
    while scanned < SCAN_LIMIT:
        rows, at_end = _next_rows(read, place, end_ms, asked.limit - len(kept) + 1, place_of)
        for row in rows:
            if start_ms is not None and place_of(row).at_ms < start_ms:
                return kept, None
            if keep(row):
                if len(kept) == asked.limit:
                    return kept, place.encode() if place else None
                kept.append(row)
            place = place_of(row)
        scanned += len(rows)
        if at_end:
            return kept, None
    return kept, place.encode() if place else None


def _next_rows[R](
    read: Callable[[int | None, int], Sequence[R]],
    place: Place | None,
    end_ms: int | None,
    count: int,
    place_of: Callable[[R], Place],
) -> tuple[list[R], bool]:
    """At least one row after `place`, and whether the list ends with them."""
    size = max(count, 20)
    bound = place.at_ms + 1 if place else end_ms
    while True:
        rows = list(read(bound, size))
        at_end = len(rows) < size
        fresh = rows if place is None else _after(rows, place, place_of)
        if fresh or at_end:
            return fresh, at_end
        size *= 4


def _after[R](rows: list[R], place: Place, place_of: Callable[[R], Place]) -> list[R]:
    """Rows behind a place; if its row is gone, those that are strictly older."""
    for index, row in enumerate(rows):
        if place_of(row) == place:
            return rows[index + 1 :]
    return [row for row in rows if place_of(row).at_ms < place.at_ms]
