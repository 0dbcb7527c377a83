"""What the routes take in paths and queries: each with its bounds and an example."""

from typing import Annotated

from fastapi import Path, Query

from desk.market.features import FEATURES_V1
from desk.market.interval import ALL_INTERVALS

LONGEST_ID = 200
_PAIR = r"^[A-Za-z0-9]{2,15}-[A-Za-z]{4}$"
_INTERVAL = f"^({'|'.join(ALL_INTERVALS)})$"


def _id(example: str) -> object:
    """An id in a path. One that nobody made is a 404; one that nobody can have made is a 422."""
    return Path(min_length=1, max_length=LONGEST_ID, examples=[example])


AgentId = Annotated[str, _id("desk")]
RunId = Annotated[str, _id("run-20261126-1")]
VersionId = Annotated[str, _id("baseline-trend-v1")]
EvaluationId = Annotated[str, _id("evaluation-7f3a")]
TradeId = Annotated[str, _id("t1a3f09c2e77b41d5906c8e21")]
JobId = Annotated[str, _id("job-5c1e")]
AlertId = Annotated[str, _id("late:BTC")]
RetryId = Annotated[str, _id("retry-91d0")]
DatasetId = Annotated[str, _id("ds-41b7")]
FeatureSetId = Annotated[str, _id(FEATURES_V1.feature_set_id)]
LimitSetId = Annotated[str, _id("default")]
TraceId = Annotated[str, _id("tr7b1f0c53a9d24e60")]

OnePair = Annotated[str, Query(pattern=_PAIR, max_length=32, examples=["BTC-USDT"])]
AnyPair = Annotated[
    str | None,
    Query(pattern=_PAIR, max_length=32, examples=["BTC-USDT"], description="Left out: every pair."),
]
OneInterval = Annotated[str, Query(pattern=_INTERVAL, max_length=4, examples=["1m"])]
AnyInterval = Annotated[
    str | None,
    Query(
        pattern=_INTERVAL, max_length=4, examples=["1m"], description="Left out: every interval."
    ),
]
