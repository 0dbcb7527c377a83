"""Trainings and evaluations queue up to a bound."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from actors.wiring import Wiring
from desk.clock import ManualClock
from desk.errors import NotFound
from desk.runs import JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from serve_apps.desk_port import EvaluationAsk
from serve_apps.learning import MOST_UNFINISHED, RayLearning
from serve_apps.problems import GateRefused
from tests.serve_apps.scene import BASELINE, PAIR, make_job

ASK = EvaluationAsk(
    agent_id="desk",
    version_id=BASELINE,
    pair=PAIR,
    interval="1m",
    start_ms=0,
    end_ms=60_000,
    decision_threshold=None,
)


def test_beyond_the_bound_a_job_is_refused_and_nothing_is_queued(tmp_path: Path) -> None:
    store = MemoryStore()
    wiring = Wiring(
        store_url="unix:///none", home=tmp_path, venue_url="", pairs=(PAIR,), intervals=("1m",)
    )
    learning = RayLearning(wiring, store, ManualClock(1))
    for number in range(MOST_UNFINISHED):
        job = make_job(f"job-{number}", number, kind="training")
        store.put(kinds.JOBS, job.job_id, job, at_ms=number)

    with pytest.raises(GateRefused, match="64 trainings and evaluations are unfinished"):
        asyncio.run(learning.start_evaluation(ASK, actor="test", trace_id="tr1"))
    assert len(store.list(kinds.JOBS, limit=1_000)) == MOST_UNFINISHED

    ended = replace(make_job("job-0", 0, kind="training"), status=JobStatus.CANCELLED)
    store.put(kinds.JOBS, "job-0", ended, at_ms=0)
    with pytest.raises(NotFound, match=PAIR):  # on to its next check: the instrument
        asyncio.run(learning.start_evaluation(ASK, actor="test", trace_id="tr2"))
