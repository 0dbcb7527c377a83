"""Datasets: what was frozen, where it came from, and what rests on it."""

from fastapi import APIRouter

from desk.ids import parse_pair
from desk.learning.study import Dataset
from desk.store import kinds
from desk.store.datasets import lineage_of
from serve_apps import lookups
from serve_apps.context import Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.parameters import AnyPair, DatasetId
from serve_apps.schemas import DatasetLineage, DatasetView, Page
from serve_apps.views.ingestion import run_view

router = APIRouter(tags=["datasets"])


@router.get("/datasets")
def list_datasets(ctx: Ctx, page: Paged, pair: AnyPair = None) -> Page[DatasetView]:
    """List datasets, newest first."""
    wanted = parse_pair(pair) if pair else None
    docs, following = page_of(
        ctx.store, kinds.DATASETS, page, keep=lambda one: wanted in {None, one.pair}
    )
    return Page(items=[_view(doc.value) for doc in docs], next_cursor=following)


@router.get("/datasets/{dataset_id}")
def read_dataset(ctx: Ctx, dataset_id: DatasetId) -> DatasetView:
    """Show one record; it never changes."""
    return _view(lookups.need(ctx.store, kinds.DATASETS, dataset_id, "dataset").value)


@router.get("/datasets/{dataset_id}/lineage")
def read_lineage(ctx: Ctx, dataset_id: DatasetId) -> DatasetLineage:
    """Show its ancestors, the runs that fetched its candles, and what was trained and judged on it."""
    found = lineage_of(ctx.store, dataset_id)
    return DatasetLineage(
        dataset=_view(found.dataset),
        ancestors=[_view(one) for one in found.ancestors],
        source_runs=[run_view(run) for run in found.source_runs],
        version_ids=list(found.version_ids),
        evaluation_ids=list(found.evaluation_ids),
    )


def _view(dataset: Dataset) -> DatasetView:
    return DatasetView(
        dataset_id=dataset.dataset_id,
        pair=dataset.pair,
        interval=dataset.interval,
        start_ms=dataset.start_ms,
        end_ms=dataset.end_ms,
        sha256=dataset.sha256,
        rows=dataset.rows,
        missing=dataset.missing,
        feature_set_id=dataset.feature_set_id,
        window=dataset.lookback,
        stride=dataset.stride,
        created_ms=dataset.created_ms,
        source_run_ids=list(dataset.source_run_ids),
        parents=list(dataset.parents),
    )
