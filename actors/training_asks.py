"""What unfinished trainings were asked for, so that another process can take them up."""

from typing import Any

from actors.training import TrainAsk
from desk.runs import Job
from desk.store import kinds
from desk.store.codec import from_json, to_json
from desk.store.port import DocStore

MOST_TIMES = 3
"""Times in a row that a training is taken up without having got further in between."""


class TrainingAsks:
    """One document a job, from its queueing to its end."""

    def __init__(self, store: DocStore) -> None:
        self._store = store

    def keep(self, job_id: str, ask: TrainAsk, *, at_ms: int) -> None:
        """Store what is asked, before the job itself."""
        row = {"ask": to_json(TrainAsk, ask).decode(), "times": 0, "done": 0.0}
        self._store.put(kinds.STATE, _key(job_id), row, at_ms=at_ms)

    def has(self, job_id: str) -> bool:
        """Whether the job can be taken up."""
        return self._store.get(kinds.STATE, _key(job_id)) is not None

    def take_up(self, job: Job) -> TrainAsk | None:
        """What a lost job was asked for, and count it; None: not stored, or too often in vain."""
        doc = self._store.get(kinds.STATE, _key(job.job_id))
        if doc is None:
            return None
        row: dict[str, Any] = dict(doc.value)
        times = 1 if job.done > row["done"] else row["times"] + 1
        if times > MOST_TIMES:
            self.forget(job.job_id)
            return None
        changed = {**row, "times": times, "done": max(job.done, row["done"])}
        self._store.put(
            kinds.STATE,
            _key(job.job_id),
            changed,
            at_ms=doc.at_ms,
            expected_version=doc.version,
        )
        return from_json(TrainAsk, row["ask"].encode())

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        self._store.delete(kinds.STATE, _key(job_id))


def _key(job_id: str) -> str:
    return f"training-ask:{job_id}"
