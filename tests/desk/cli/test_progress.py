"""What a progress bar says of a job's pace."""

from typing import Any

import pytest

from desk.cli.progress import _pace

JOB: dict[str, Any] = {"status": "running", "unit": "candles", "rate_per_s": 1_200.4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"remaining_s": 65.2}, "1,200 candles/s, 0:01:05 left"),
        ({"remaining_s": None}, "1,200 candles/s"),
        ({"rate_per_s": 0.0, "remaining_s": None}, ""),
        ({"status": "done", "remaining_s": None}, ""),
    ],
)
def test_the_pace_and_the_rest_are_shown_while_a_job_runs(
    changes: dict[str, Any], said: str
) -> None:
    assert _pace(JOB | changes) == said
