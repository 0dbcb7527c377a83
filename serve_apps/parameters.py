"""What the routes take in paths and queries: each with its bounds and an example."""

from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.routing import APIRoute

from desk.errors import BadInput
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


def given_once(request: Request) -> None:
    """Refuse a query that names a parameter twice of which the route reads one value.

    The last one would be taken and the others passed over. Raises `BadInput`.
    """
    given = request.query_params
    route = request.scope.get("route")
    if len(given) == len(given.multi_items()) or not isinstance(route, APIRoute):
        return
    # HEAD has no description of its own, and reads what GET reads.
    described = request.app.openapi()["paths"][route.path]
    operation = described.get(request.method.lower(), described.get("get", {}))
    single = {
        parameter["name"]
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and not _is_list(parameter["schema"])
    }
    refuse_repeated({name: given.getlist(name) for name in given}, single)


def refuse_repeated(values: Mapping[str, Sequence[str]], single: Container[str]) -> None:
    """Raises `BadInput` for a field of `single` with more than one value."""
    for name, found in values.items():
        if name in single and len(found) > 1:
            raise BadInput(name, f"was given {len(found)} times, expected it once")


def _is_list(schema: Mapping[str, Any]) -> bool:
    return any(kind.get("type") == "array" for kind in (schema, *schema.get("anyOf", ())))
