"""The row of a backfill: what it asks for, and back."""

from actors.commands import BackfillAsk
from desk.runs import Job, JobStatus

KIND = "backfill"
SCHEDULED = "scheduled"


def job_of(job_id: str, ask: BackfillAsk, *, now_ms: int, scheduled: bool = False) -> Job:
    """The row of a new backfill; `scheduled`: nobody asked for it."""
    bounds = {"start_ms": ask.start_ms, "end_ms": ask.end_ms, "max_batches": ask.max_batches}
    given: dict[str, object] = {name: at for name, at in bounds.items() if at is not None}
    if scheduled:
        given[SCHEDULED] = True
    return Job(
        job_id=job_id,
        kind=KIND,
        status=JobStatus.QUEUED,
        created_ms=now_ms,
        updated_ms=now_ms,
        unit="candles",
        detail=f"{ask.pair} {ask.interval}: waiting",
        arguments={"pair": ask.pair, "interval": ask.interval, **given},
    )


def ask_of(job: Job) -> BackfillAsk:
    """What a backfill's row asks for."""
    given = job.arguments
    return BackfillAsk(
        pair=str(given["pair"]),
        interval=str(given["interval"]),
        start_ms=given.get("start_ms"),
        end_ms=given.get("end_ms"),
        max_batches=given.get("max_batches"),
    )


def is_scheduled(job: Job) -> bool:
    """Whether nobody asked for this backfill."""
    return bool(job.arguments.get(SCHEDULED))


def cursor_key(job_id: str) -> str:
    """Where a backfill's progress is kept."""
    return f"backfill:{job_id}"
