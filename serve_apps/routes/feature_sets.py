"""Feature sets: what policies are shown, by id of the definition."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from actors.feature_sets import Uses, create_feature_set, uses_of
from desk.market.anchors import Anchor
from desk.market.feature_rules import Feature
from desk.market.feature_sets import MAX_COLUMNS, FeatureSetRecord, make_feature_set
from desk.market.features import FEATURE_SETS
from desk.market.funding_features import USUAL_AGE_MIN, FundingColumn, FundingColumns
from desk.market.signal_features import SignalColumns
from desk.store.feature_sets import all_feature_sets, record_of
from serve_apps.context import By, Ctx
from serve_apps.parameters import FeatureSetId
from serve_apps.requests import Body, example
from serve_apps.schemas import (
    AnchorView,
    FeatureSetView,
    FeatureView,
    FundingColumnsView,
    FundingColumnView,
    Page,
    SignalColumnsView,
)

router = APIRouter(tags=["feature sets"])

NO_USE = Uses(versions=0, datasets=0)
type Text = Annotated[str, Field(max_length=100)]


class FeatureBody(Body):
    name: Text
    rule: Text
    windows: Annotated[tuple[int, ...], Field(max_length=4)] = ()
    bars: int = 1
    """Candles in a bar; more than one only for indicators, which then see closed bars."""


class SignalColumnsBody(Body):
    source_id: Text
    half_life_min: int
    """Market minutes after which half of a side is left."""


class FundingColumnBody(Body):
    rule: Text
    windows: Annotated[tuple[int, ...], Field(max_length=4)] = ()


class FundingColumnsBody(Body):
    """Columns of the pair's settled funding rates, in order."""

    columns: Annotated[tuple[FundingColumnBody, ...], Field(max_length=MAX_COLUMNS)]
    max_age_min: int = USUAL_AGE_MIN
    """Minutes after which a settled rate is no longer decided on."""


class AnchorBody(Body):
    """Where the series of indicators begin, and which holes are filled; in candles."""

    every: int
    warm_up: int
    most_filled: int


class FeatureSetBody(Body):
    """Columns over candles, in order, then two for each source of signals, then those of funding."""

    model_config = example(
        {
            "name": "short_trend",
            "features": [
                {"name": "return_15", "rule": "scaled_return", "windows": [15, 240]},
                {"name": "trend_60_240", "rule": "trend", "windows": [60, 240]},
            ],
        }
    )

    name: Text
    features: Annotated[list[FeatureBody], Field(max_length=MAX_COLUMNS + 1)]
    signals: Annotated[tuple[SignalColumnsBody, ...], Field(max_length=MAX_COLUMNS)] = ()
    anchor: AnchorBody | None = None
    """Needed as soon as one rule is an indicator."""
    funding: FundingColumnsBody | None = None


@router.get("/feature-sets")
def list_feature_sets(ctx: Ctx) -> Page[FeatureSetView]:
    """List every feature set, the built-in ones first."""
    uses = uses_of(ctx.store)
    return Page(items=[_view(record, uses) for record in all_feature_sets(ctx.store)])


@router.get("/feature-sets/{feature_set_id}")
def read_feature_set(ctx: Ctx, feature_set_id: FeatureSetId) -> FeatureSetView:
    """Show one; it never changes."""
    return _view(record_of(ctx.store, feature_set_id), uses_of(ctx.store))


@router.post("/feature-sets", status_code=201)
def make(ctx: Ctx, by: By, body: FeatureSetBody) -> FeatureSetView:
    """Make a feature set. Its id is the hash of the definition: asked again, the same one is answered."""
    features = make_feature_set(
        body.name,
        [
            Feature(name=one.name, rule=one.rule, windows=one.windows, bars=one.bars)
            for one in body.features
        ],
        [
            SignalColumns(source_id=one.source_id, half_life_min=one.half_life_min)
            for one in body.signals
        ],
        None if body.anchor is None else Anchor(**body.anchor.model_dump()),
        None if body.funding is None else _funding(body.funding),
    )
    record = create_feature_set(
        ctx.store,
        features,
        known_sources={source_id for _, source_id in ctx.facts.signal_sources},
        actor=by.actor,
        now_ms=ctx.clock.now_ms(),
        trace_id=by.trace_id,
    )
    return _view(record, uses_of(ctx.store))


def _funding(body: FundingColumnsBody) -> FundingColumns:
    return FundingColumns(
        columns=tuple(FundingColumn(rule=one.rule, windows=one.windows) for one in body.columns),
        max_age_min=body.max_age_min,
    )


def _view(record: FeatureSetRecord, uses: dict[str, Uses]) -> FeatureSetView:
    features = record.features
    used = uses.get(features.feature_set_id, NO_USE)
    return FeatureSetView(
        feature_set_id=features.feature_set_id,
        name=features.name,
        built_in=features.feature_set_id in FEATURE_SETS,
        columns=list(features.names),
        lookback=features.lookback,
        features=[
            FeatureView(name=one.name, rule=one.rule, windows=list(one.windows), bars=one.bars)
            for one in features.features
        ],
        signals=[
            SignalColumnsView(source_id=one.source_id, half_life_min=one.half_life_min)
            for one in features.signals
        ],
        funding=None if features.funding is None else _funding_view(features.funding),
        sources=list(features.sources),
        anchor=None if features.anchor is None else AnchorView(**asdict(features.anchor)),
        gap_policy=features.gap_policy,
        version_count=used.versions,
        dataset_count=used.datasets,
        created_ms=record.created_ms,
        created_by=record.created_by,
    )


def _funding_view(funding: FundingColumns) -> FundingColumnsView:
    return FundingColumnsView(
        columns=[
            FundingColumnView(rule=one.rule, windows=list(one.windows)) for one in funding.columns
        ],
        max_age_min=funding.max_age_min,
    )
