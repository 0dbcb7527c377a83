"""From a batch as the venue sent it to stored candles: inspected, closed, sound, each time the same."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from actors.alerts import Cause, raise_alert
from actors.events import ops_event
from actors.heartbeat import Pulse
from actors.market_time import MarketClock
from actors.store_calls import stored
from desk import meters
from desk.ids import Pair
from desk.market import integrity, quality, quarantine, revisions
from desk.market.candles import Candles
from desk.market.ingestion import Reading
from desk.market.interval import Interval
from desk.market.quality import Counts, IntakeTally
from desk.market.quarantine import RefusedRow
from desk.market.revisions import CandleRevision
from desk.store import kinds
from desk.store.port import Kind, Store

log = structlog.stdlib.get_logger()

KNOWN_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a batch brought: its sound closed candles, oldest first, and how many were new."""

    candles: Candles
    added: int
    refused: int = 0
    """Rows that are in the quarantine instead."""
    revised: int = 0
    """Rows that were stored already, and otherwise."""

    def reading(self, step_ms: int) -> Reading:
        """The batch as the record of its ingestion run counts it."""
        opens = self.candles.open_ms
        return Reading(
            new=self.added,
            updated=self.revised,
            errors=self.refused,
            error=f"{self.refused} rows are in the quarantine" if self.refused else "",
            cursor=str(int(opens[-1])) if len(opens) else "",
            from_ms=int(opens[0]) if len(opens) else None,
            to_ms=int(opens[-1]) + step_ms if len(opens) else None,
        )


class CandleIntake:
    """The one way of a pair's candles into the store."""

    def __init__(self, pair: Pair, store: Store, clock: MarketClock, pulse: Pulse) -> None:
        self._pair, self._store, self._clock, self._pulse = pair, store, clock, pulse
        self._tallies: dict[Interval, IntakeTally] = {}

    async def take(self, interval: Interval, batch: Candles) -> Taken:
        """Store what is sound; keep what is not in the quarantine; report what differs from before.

        A newest candle of which only our reading of the venue's clock says that it has closed waits for
        the next batch.
        """
        verdict = integrity.inspect(
            batch, interval, now_ms=self._clock.now_ms(), error_ms=self._clock.anchor.error_ms
        )
        candles = verdict.candles
        refused = list(
            dict.fromkeys(
                [
                    *batch.refused,
                    *(
                        RefusedRow(raw=json.dumps(row), reason=reason, open_ms=row.open_ms)
                        for row, reason in verdict.rejected
                    ),
                ]
            )
        )
        put_right = tuple(code for code in integrity.PUT_RIGHT if code in verdict.warnings)
        for code in put_right:
            self._pulse.count(code)
            log.warning(code, pair=self._pair, interval=interval)
        if refused:
            await self._quarantine(interval, refused)
        revised = await self._keep_revisions(interval, candles) if len(candles) else 0
        counts = Counts(
            received=len(batch) + len(batch.refused),
            rejected=len(refused),
            missing_fields=sum(row.reason == quarantine.MISSING_FIELD for row in refused),
            revised=revised,
            without_volume=int(np.count_nonzero(candles.volume == 0)),
        )
        is_misaligned = bool(verdict.blocks)
        await self._count(interval, counts, put_right, is_misaligned=is_misaligned)
        added = 0
        if len(candles):
            added = await stored(lambda: self._store.write_candles(self._pair, interval, candles))
        self._pulse.count("candles", added)
        meters.CANDLES_STORED.count(interval, by=added)
        meters.CANDLES_REJECTED.count(interval, by=len(refused))
        meters.CANDLES_REVISED.count(interval, by=revised)
        return Taken(candles=candles, added=added, refused=len(refused), revised=revised)

    async def _quarantine(self, interval: Interval, refused: Sequence[RefusedRow]) -> None:
        self._pulse.count("candles_rejected", len(refused))
        kind, now_ms = kinds.quarantine(self._pair, interval), self._clock.now_ms()
        for row in refused[: quarantine.MAX_OF_BATCH]:
            kept = quarantine.quarantined(row, pair=self._pair, interval=interval, now_ms=now_ms)
            before = await stored(lambda key=kept.row_id: self._store.get(kind, key))
            if before is not None:
                kept = quarantine.seen_again(before.value, kept)
            await stored(lambda kept=kept: self._store.put(kind, kept.row_id, kept, at_ms=now_ms))
        await self._forget_beyond(kind, quarantine.MAX_ROWS)
        first = refused[0]
        at = f" at {first.open_ms}" if first.open_ms is not None else ""
        detail = f"{len(refused)} candles of {self._pair} {interval}: {first.reason}{at}"
        await self._alert("candles_rejected", interval, detail)

    async def _keep_revisions(self, interval: Interval, fresh: Candles) -> int:
        """Keep what the store is about to lose; returns how many candles changed."""
        first_ms, last_ms = int(fresh.open_ms[0]), int(fresh.open_ms[-1])
        known = await stored(
            lambda: self._store.read_candles(self._pair, interval, first_ms, last_ms + 1)
        )
        changed = revisions.revised_rows(known, fresh)
        for before, after in changed:
            self._pulse.count("candles_revised")
            change = revisions.revision(
                self._pair, interval, before, after, now_ms=self._clock.now_ms()
            )
            await self._put_revision(interval, change)
            if change.move_fraction > revisions.REVISION_ALERT_FRACTION:
                detail = f"{self._pair} {interval} at {before.open_ms}: close {before.close} became {after.close}"
                await self._alert("candle_revised", interval, detail)
        if changed:
            kind = kinds.revisions(self._pair, interval)
            await self._forget_beyond(kind, revisions.MAX_REVISIONS)
        return len(changed)

    async def _put_revision(self, interval: Interval, change: CandleRevision) -> None:
        kind, now_ms = kinds.revisions(self._pair, interval), self._clock.now_ms()
        event = ops_event(
            "candle_revised",
            f"{self._pair}:{interval}",
            {"t": change.open_ms, "before": list(change.before), "after": list(change.after)},
            at_ms=now_ms,
        )
        found = await stored(lambda: self._store.get(kind, change.revision_id))
        kept = revisions.seen_again(found.value, change) if found else change
        await stored(
            lambda: self._store.put(kind, kept.revision_id, kept, at_ms=now_ms, event=event)
        )

    async def _count(
        self, interval: Interval, counts: Counts, put_right: tuple[str, ...], *, is_misaligned: bool
    ) -> None:
        key = f"{self._pair}:{interval}"
        if interval not in self._tallies:
            found = await stored(lambda: self._store.get(kinds.INTAKE, key))
            empty = IntakeTally(pair=self._pair, interval=interval)
            self._tallies.setdefault(interval, found.value if found else empty)
        now_ms = self._clock.now_ms()
        tally = quality.counted(
            self._tallies[interval],
            counts,
            is_misaligned=is_misaligned,
            now_ms=now_ms,
            put_right=put_right,
        )
        self._tallies[interval] = tally
        await stored(lambda: self._store.put(kinds.INTAKE, key, tally, at_ms=now_ms))

    async def _forget_beyond[T](self, kind: Kind[T], limit: int) -> None:
        docs = await stored(lambda: self._store.list(kind, limit=KNOWN_LIMIT))
        for doc in docs[limit:]:
            await stored(lambda key=doc.key: self._store.delete(kind, key))

    async def _alert(self, code: str, interval: Interval, detail: str) -> None:
        cause = Cause(
            code=code,
            about=f"{self._pair}:{interval}",
            category="data",
            severity="warning",
            detail=detail,
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
