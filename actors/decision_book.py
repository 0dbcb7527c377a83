"""Decisions on record: claimed before an order leaves, completed afterwards, never made twice."""

import secrets
from dataclasses import replace

from actors.events import decision_event
from actors.store_calls import measured, stored
from desk import ids, meters
from desk.clock import Clock
from desk.errors import VersionConflict
from desk.runs import Action, DecisionRecord
from desk.store import kinds
from desk.store.decision_history import COMPLETED
from desk.store.port import Doc, Sample, Store

CLAIMED = 1
"""Version of a decision's row before it is `COMPLETED`."""
CLAIM_REMEMBERED_S = 120
"""How long the store can tell whose claim a decision is: an approval that comes later than this after
its claim is refused, and the claim carried on."""


class DecisionBook:
    """The decisions of one run.

    The row in the run's own index is the claim: the store creates it once, so whoever comes second,
    a restarted loop, a zombie, a candle delivered again, finds it and decides nothing.
    """

    def __init__(self, run_id: str, store: Store, clock: Clock) -> None:
        self._kind = kinds.decisions_of_run(run_id)
        self._store, self._clock = store, clock
        self._incarnation = secrets.token_hex(8)

    def claim_id(self, decision_id: str) -> str:
        """The request id of this incarnation's claim: by it the store knows whether it was the one."""
        return ids.request_id("claim", self._incarnation, decision_id)

    async def claim(self, record: DecisionRecord) -> bool:
        """Create the row; False when this candle was decided on before, by another incarnation."""
        try:
            await stored(lambda: self._create(record))
        except VersionConflict:
            return False
        return True

    async def newest(self) -> Doc[DecisionRecord] | None:
        """The row of the newest decided candle."""
        found = await stored(lambda: self._store.list(self._kind, limit=1))
        return found[0] if found else None

    async def complete(self, record: DecisionRecord) -> None:
        """Store what came of a claimed decision, once, with its event and latencies."""
        now_ms = self._clock.now_ms()
        key, event = record.decision_id, decision_event(record, at_ms=now_ms)
        try:
            await stored(
                lambda: self._store.put(
                    self._kind,
                    key,
                    record,
                    at_ms=record.open_ms,
                    expected_version=CLAIMED,
                    event=event,
                )
            )
        except VersionConflict:
            return  # another incarnation completed it
        _count(record)
        await measured(self._store, _samples(record, now_ms))

    def _create(self, record: DecisionRecord) -> None:
        self._store.put(
            self._kind,
            record.decision_id,
            record,
            at_ms=record.open_ms,
            expected_version=0,
            request_id=self.claim_id(record.decision_id),
            remembered_s=CLAIM_REMEMBERED_S,
        )


def is_complete(doc: Doc[DecisionRecord]) -> bool:
    """Whether a stored decision has come to its end."""
    return doc.version >= COMPLETED


def with_outcome(
    record: DecisionRecord, *, action: Action, hold_reason: str, client_order_ids: tuple[str, ...]
) -> DecisionRecord:
    """A claimed decision that a later incarnation brought to its end."""
    return replace(
        record, action=action, hold_reason=hold_reason, client_order_ids=client_order_ids
    )


def _count(record: DecisionRecord) -> None:
    meters.DECISIONS.count(record.action.value, record.hold_reason.split(":")[0])
    for stage, value_ms in record.latency_ms.items():
        meters.DECISION_STAGE.observe(value_ms / 1000, stage)


def _samples(record: DecisionRecord, now_ms: int) -> list[Sample]:
    tags = {"pair": record.pair, "run_id": record.run_id}
    return [
        Sample(
            name="decision_latency_ms",
            value=value,
            unit="ms",
            recorded_at_ms=now_ms,
            tags={**tags, "stage": stage},
            trace_id=record.trace_id,
        )
        for stage, value in record.latency_ms.items()
    ]
