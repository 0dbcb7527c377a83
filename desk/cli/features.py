"""`desk features list`, `show`, `create`: what policies are shown, with or without a running desk."""

from dataclasses import fields
from typing import Annotated, Any

import typer

from actors.channel_book import source_of
from actors.feature_sets import create_feature_set
from desk.cli import tables
from desk.cli.learning import clock_of, opened_store, viewed
from desk.cli.output import Json, show
from desk.errors import BadInput
from desk.ids import trace_id
from desk.market.anchors import Anchor
from desk.market.feature_rules import Feature
from desk.market.feature_sets import FeatureSetRecord, make_feature_set
from desk.market.features import FEATURES_V1
from desk.market.funding_features import USUAL_AGE_MIN, FundingColumn, FundingColumns
from desk.market.signal_features import SignalColumns
from desk.settings import Settings, feed_token_hashes
from desk.store.feature_sets import all_feature_sets, record_of
from desk.wallclock import wall_ms

app = typer.Typer(
    no_args_is_help=True, help="What policies are shown: rules over candles, signals."
)


@app.command("list")
def list_feature_sets(*, as_json: Json = False) -> None:
    """List the built-in feature sets and those that were made."""
    with opened_store() as (_, store):
        rows = [_row(record) for record in all_feature_sets(store)]
    show(rows, tables.feature_sets(rows), as_json=as_json)


@app.command("show")
def show_feature_set(
    feature_set_id: Annotated[str, typer.Argument(metavar="FEATURE_SET")], *, as_json: Json = False
) -> None:
    """Show the columns of one feature set."""
    with opened_store() as (_, store):
        row = _row(record_of(store, feature_set_id))
    show(row, tables.columns(row), as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="First part of its id, as `mine`.")],
    *,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="RULE:WINDOWS in candles, as trend:20,60, or of closed bars of several candles, as"
            " rsi:14@5; default: the built-in ones."
        ),
    ] = None,
    signal: Annotated[
        list[str] | None,
        typer.Option(help="SOURCE=HALF_LIFE in minutes, as telegram:@calls=30; may be repeated."),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(help="EVERY,WARM_UP,MOST_FILLED in candles, as 10080,1000,3: for indicators."),
    ] = None,
    funding: Annotated[
        list[str] | None,
        typer.Option(
            help="RULE or RULE:WINDOW in settlements or hours, as funding_rate, funding_mean:21,"
            " funding_zscore:90, funding_age:8, funding_wait:8; may be repeated."
        ),
    ] = None,
    funding_max_age: Annotated[
        int, typer.Option(help="Minutes after which a settled rate is no longer decided on.")
    ] = USUAL_AGE_MIN,
    as_json: Json = False,
) -> None:
    """Make a feature set; the same definition is the same one."""
    chosen = [_feature(text) for text in column] if column else FEATURES_V1.features
    features = make_feature_set(
        name,
        chosen,
        [_signal(text) for text in signal or ()],
        _anchor(anchor) if anchor else None,
        _funding(funding, funding_max_age) if funding else None,
    )
    with opened_store() as (settings, store):
        record = create_feature_set(
            store,
            features,
            known_sources=_configured(settings),
            actor="cli",
            now_ms=clock_of(store).now_ms(),
            trace_id=trace_id("features", features.feature_set_id, wall_ms()),
        )
    row = _row(record)
    text = f"feature set {row['feature_set_id']}: {len(row['columns'])} columns"
    show(row, text, as_json=as_json)


def _row(record: FeatureSetRecord) -> dict[str, Any]:
    features = record.features
    return {
        **viewed(features),
        "feature_set_id": features.feature_set_id,
        "columns": list(features.names),
        "sources": list(features.sources),
        "created_ms": record.created_ms,
        "created_by": record.created_by,
    }


def _feature(text: str) -> Feature:
    call, of, bars = text.partition("@")
    rule, _, sizes = call.partition(":")
    windows = [part.strip() for part in sizes.split(",")] if sizes else []
    if not all(_is_number(part) for part in [*windows, *([bars] if of else [])]):
        raise BadInput("--column", f"was {text!r}, expected a form like trend:20,60 or rsi:14@5")
    return Feature(
        name="_".join([rule, *windows, *([f"of{bars}"] if of else [])]),
        rule=rule,
        windows=tuple(int(part) for part in windows),
        bars=int(bars) if of else 1,
    )


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _anchor(text: str) -> Anchor:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != len(fields(Anchor)) or not all(_is_number(part) for part in parts):
        raise BadInput("--anchor", f"was {text!r}, expected a form like 10080,1000,3")
    every, warm_up, most_filled = (int(part) for part in parts)
    return Anchor(every=every, warm_up=warm_up, most_filled=most_filled)


def _funding(texts: list[str], max_age_min: int) -> FundingColumns:
    columns: list[FundingColumn] = []
    for text in texts:
        rule, _, window = text.partition(":")
        if window and not _is_number(window):
            raise BadInput("--funding", f"was {text!r}, expected a form like funding_mean:21")
        columns.append(FundingColumn(rule=rule, windows=(int(window),) if window else ()))
    return FundingColumns(columns=tuple(columns), max_age_min=max_age_min)


def _signal(text: str) -> SignalColumns:
    source_id, _, minutes = text.rpartition("=")
    if not source_id or not minutes.isdecimal() or len(minutes) > 9:
        raise BadInput("--signal", f"was {text!r}, expected a form like telegram:@calls=30")
    return SignalColumns(source_id=source_id, half_life_min=int(minutes))


def _configured(settings: Settings) -> set[str]:
    """Ids of the sources of signals that the settings name."""
    tokens = settings.tradingview_feed_tokens
    feeds = dict(feed_token_hashes(tokens)) if tokens else {}
    return {*feeds, *(source_of(name) for name in settings.telegram_chat_ids)}
