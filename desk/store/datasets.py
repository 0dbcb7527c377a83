"""Datasets on disk and on record: an immutable copy of candles and signals, and where they came from."""

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from desk.errors import ArtifactRefused, BadInput, DeskError, NotFound, VersionConflict
from desk.ids import Pair
from desk.learning.study import Dataset, check_words, content_sha256, snapshot
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.market.funding_features import FUNDING_SOURCE, Settlement, settled
from desk.market.gaps import missing_ends
from desk.market.ingestion import BINGX, IngestionKind, IngestionRun, IngestionStatus, has_read
from desk.market.interval import Interval, interval_ms
from desk.market.signal_features import NO_SIGNALS, Heard, Signals
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.candle_file import from_parquet, to_parquet
from desk.store.codec import from_json, to_json
from desk.store.feature_sets import feature_set_of
from desk.store.folders import Folder, folder_of
from desk.store.funding_history import settlements_between
from desk.store.port import DocStore
from desk.store.signal_history import heard_between, marks_by_source

_MANY = 1_000
_MOST_ANCESTORS = 100
_MOST_RUNS = 500
"""Ingestion runs that one dataset names, the newest."""


class CandleReader(Protocol):
    """Stored candles, wherever they lie."""

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetAsk:
    """What a dataset is to consist of: rows of `[start_ms, end_ms)`, a multiple of the interval."""

    pair: Pair
    interval: Interval
    start_ms: int
    end_ms: int
    features: FeatureSet
    lookback: int | None = None
    """Candles a row looks at; None: as many as the features need."""
    stride: int = 1
    parents: tuple[str, ...] = ()
    """Datasets it was made from or follows."""

    @property
    def first_ms(self) -> int:
        """Where the lookback of the first row begins."""
        reach = (self.lookback or self.features.lookback) - 1
        return self.start_ms - reach * interval_ms(self.interval)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSignals:
    """The second file of a dataset whose features look at signals or funding."""

    heard: Mapping[str, tuple[Heard, ...]]
    """By source id, in the order of their receipt."""
    settlements: tuple[Settlement, ...] = ()
    """Of the pair's funding, as they were known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What `verify` found: an empty `problem` is good news."""

    dataset_id: str
    rows: int
    source: str
    """`snapshot`: its own file; `stored candles`: it has none, as those of trainings."""
    problem: str = ""


class Datasets:
    """The snapshots under one folder (`datasets` of `DESK_HOME` or `DESK_FILES`) and their records in the store.

    A snapshot is published before its record, and neither is ever changed: building again what is
    there returns the record as it stands.
    """

    def __init__(self, root: Path | Folder, store: DocStore, candles: CandleReader) -> None:
        self._root, self._store, self._candles = folder_of(root), store, candles

    def check(self, ask: DatasetAsk) -> None:
        """Raise `BadInput` for words that do not fit together, `NotFound` for an unknown parent."""
        check_words(
            ask.interval,
            ask.features,
            start_ms=ask.start_ms,
            end_ms=ask.end_ms,
            lookback=ask.lookback or ask.features.lookback,
            stride=ask.stride,
        )
        for parent in ask.parents:
            self.record(parent)

    def missing(self, ask: DatasetAsk) -> list[tuple[int, int]]:
        """Head and tail of the range that are not stored, half-open: all that must be fetched."""
        stored = self._candles.read(ask.pair, ask.interval, ask.first_ms, ask.end_ms)
        return missing_ends(stored.open_ms, ask.interval, start_ms=ask.first_ms, end_ms=ask.end_ms)

    def build(self, ask: DatasetAsk, *, now_ms: int) -> Dataset:
        """Freeze what is stored of the range. Idempotent.

        Raises `BadInput` for words that do not fit together and for a range without candles,
        `NotFound` for an unknown parent.
        """
        self.check(ask)
        candles = self._candles.read(ask.pair, ask.interval, ask.first_ms, ask.end_ms)
        frozen = self._heard(
            ask.pair,
            ask.interval,
            ask.features,
            start_ms=ask.start_ms,
            end_ms=ask.end_ms,
            now_ms=now_ms,
        )
        dataset, seen = snapshot(
            ask.pair,
            ask.interval,
            candles,
            ask.features,
            start_ms=ask.start_ms,
            end_ms=ask.end_ms,
            lookback=ask.lookback,
            stride=ask.stride,
            signals=_marks(frozen, ask.features.sources),
        )
        if dataset.dataset_id in ask.parents:
            raise BadInput("parent", f"{dataset.dataset_id} cannot be its own: leave it out")
        name = _file_of(dataset.dataset_id)
        if self._problem_of(dataset):
            if ask.features.sources:
                signals_name = _signals_file_of(dataset.dataset_id)
                self._root.put(signals_name, to_json(FrozenSignals, frozen))
            self._root.put(name, to_parquet(seen))
        published = self._root.read(name)
        if published is None:
            raise ArtifactRefused(f"{name} was removed while it was built: build it again")
        complete = replace(
            dataset,
            created_ms=now_ms,
            source_run_ids=tuple(run.run_id for run in self._runs_behind(ask)),
            parents=ask.parents,
            detail={"file_sha256": hashlib.sha256(published).hexdigest()},
        )
        try:
            return self._store.put(
                kinds.DATASETS,
                dataset.dataset_id,
                complete,
                at_ms=now_ms,
                expected_version=0,
            ).value
        except VersionConflict:
            return self.record(dataset.dataset_id)

    def record(self, dataset_id: str) -> Dataset:
        """Raises `NotFound`."""
        return record_of(self._store, dataset_id)

    def newest(self, limit: int = 200) -> list[Dataset]:
        """Newest first."""
        return [doc.value for doc in self._store.list(kinds.DATASETS, limit=limit)]

    def candles(self, dataset_id: str) -> Candles:
        """The candles of a dataset, their lookback included, as they were when it was built.

        Raises `NotFound`, and `ArtifactRefused` when they cannot be proved to be those.
        """
        dataset = self.record(dataset_id)
        checked = self.verify(dataset_id)
        if checked.problem:
            raise ArtifactRefused(f"{dataset_id}: {checked.problem}")
        return self._frozen(dataset) or self._stored(dataset)

    def signals(self, dataset_id: str) -> Signals:
        """What was heard from the sources of a dataset's features, as it was when it was built.

        Raises `NotFound`, and `ArtifactRefused` when it cannot be proved to be that.
        """
        dataset = self.record(dataset_id)
        if not dataset.signals_sha256:
            return NO_SIGNALS
        checked = self.verify(dataset_id)
        if checked.problem:
            raise ArtifactRefused(f"{dataset_id}: {checked.problem}")
        if checked.source == "snapshot":
            return self._frozen_signals(dataset)
        return self._stored_signals(dataset)

    def verify(self, dataset_id: str) -> Checked:
        """Hash the candles and signals again: of the snapshot, or of what is stored where there is none."""
        dataset = self.record(dataset_id)
        if "file_sha256" in dataset.detail or self._root.read(_file_of(dataset_id)) is not None:
            problem = self._problem_of(dataset)
            return Checked(
                dataset_id=dataset_id, rows=dataset.rows, source="snapshot", problem=problem
            )
        problem = self._changed(dataset)
        return Checked(
            dataset_id=dataset_id, rows=dataset.rows, source="stored candles", problem=problem
        )

    def ancestors(self, dataset_id: str) -> list[Dataset]:
        """Its parents, theirs, and so on, nearest first, each once."""
        return ancestors_of(self._store, dataset_id)

    def _runs_behind(self, ask: DatasetAsk) -> list[IngestionRun]:
        """Ingestion runs that read candles of the range, newest first."""
        found: list[IngestionRun] = []
        for run in _runs(self._store):
            is_ours = (run.source, run.pair, run.interval) == (BINGX, ask.pair, ask.interval)
            if is_ours and has_read(run, ask.first_ms, ask.end_ms):
                found.append(run)
                if len(found) == _MOST_RUNS:
                    break
        return found

    def _problem_of(self, dataset: Dataset) -> str:
        try:
            candles = self._frozen(dataset)
            heard = _hashes(self._frozen_signals(dataset))
        except (OSError, ValueError) as broken:
            return f"its snapshot cannot be read ({broken}): build it again"
        if candles is None:
            return "its snapshot is gone: build it again"
        if content_sha256(candles, heard) != dataset.sha256:
            return "its snapshot does not have the recorded hash: build it again"
        return ""

    def _changed(self, dataset: Dataset) -> str:
        """How what is stored of its range differs from a dataset that has no snapshot."""
        try:
            heard = _hashes(self._stored_signals(dataset))
        except DeskError as gone:
            return f"the signals of its range cannot be read any more: {gone}"
        if content_sha256(self._stored(dataset), heard) == dataset.sha256:
            return ""
        return "the stored candles or signals of its range have changed since"

    def _frozen_signals(self, dataset: Dataset) -> Signals:
        """Raises OSError or ValueError where the file is gone or damaged."""
        if not dataset.signals_sha256:
            return NO_SIGNALS
        rows = self._root.read(_signals_file_of(dataset.dataset_id))
        if rows is None:
            raise FileNotFoundError(f"{_signals_file_of(dataset.dataset_id)} is gone")
        return _marks(from_json(FrozenSignals, rows), dataset.signals_sha256)

    def _stored_signals(self, dataset: Dataset) -> Signals:
        if not dataset.signals_sha256:
            return NO_SIGNALS
        features = feature_set_of(self._store, dataset.feature_set_id)
        frozen = self._heard(
            dataset.pair,
            dataset.interval,
            features,
            start_ms=dataset.start_ms,
            end_ms=dataset.end_ms,
            now_ms=dataset.created_ms,
        )
        return _marks(frozen, dataset.signals_sha256)

    def _heard(
        self,
        pair: Pair,
        interval: Interval,
        features: FeatureSet,
        *,
        start_ms: int,
        end_ms: int,
        now_ms: int,
    ) -> FrozenSignals:
        """What is stored of everything that the rows of a range may look at beside candles."""
        step_ms = interval_ms(interval)
        first_ms = start_ms + step_ms
        return FrozenSignals(
            heard=heard_between(
                self._store, features, pair, start_ms=first_ms, end_ms=end_ms, now_ms=now_ms
            ),
            settlements=settlements_between(
                self._store, features, pair, start_ms=first_ms, end_ms=end_ms, step_ms=step_ms
            ),
        )

    def _frozen(self, dataset: Dataset) -> Candles | None:
        content = self._root.read(_file_of(dataset.dataset_id))
        return None if content is None else from_parquet(content)

    def _stored(self, dataset: Dataset) -> Candles:
        reach_ms = (dataset.lookback - 1) * interval_ms(dataset.interval)
        return self._candles.read(
            dataset.pair, dataset.interval, dataset.start_ms - reach_ms, dataset.end_ms
        )


def _file_of(dataset_id: str) -> str:
    if not dataset_id.startswith("ds") or not dataset_id.replace("-", "").isalnum():
        raise BadInput("dataset_id", f"was {dataset_id!r}, expected one as `ds-1f0c…`")
    return f"{dataset_id}.parquet"


def _signals_file_of(dataset_id: str) -> str:
    return _file_of(dataset_id).replace(".parquet", ".signals.json")


def _marks(frozen: FrozenSignals, sources: Container[str]) -> Signals:
    heard = marks_by_source(frozen.heard)
    if FUNDING_SOURCE not in sources:
        return heard
    return {**heard, FUNDING_SOURCE: settled(frozen.settlements)}


def _hashes(signals: Signals) -> dict[str, str]:
    return {source_id: marks.sha256 for source_id, marks in signals.items()}


# --- records, without the files -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a dataset came from, and what rests on it."""

    dataset: Dataset
    ancestors: tuple[Dataset, ...]
    """Nearest first."""
    source_runs: tuple[IngestionRun, ...]
    """Those that are still on record."""
    version_ids: tuple[str, ...]
    evaluation_ids: tuple[str, ...]


def record_of(store: DocStore, dataset_id: str) -> Dataset:
    """The record of a dataset. Raises `NotFound`."""
    doc = store.get(kinds.DATASETS, dataset_id)
    if doc is None:
        raise NotFound("dataset", dataset_id)
    return doc.value


def ancestors_of(store: DocStore, dataset_id: str) -> list[Dataset]:
    """A dataset's parents, theirs, and so on, nearest first, each once."""
    found: dict[str, Dataset] = {}
    waiting = list(record_of(store, dataset_id).parents)
    while waiting and len(found) < _MOST_ANCESTORS:
        one = waiting.pop(0)
        if one not in found and one != dataset_id:
            found[one] = record_of(store, one)
            waiting += found[one].parents
    return list(found.values())


def lineage_of(store: DocStore, dataset_id: str) -> Lineage:
    """The story of a dataset. Raises `NotFound`."""
    dataset = record_of(store, dataset_id)
    versions = store.list(kinds.VERSIONS, limit=_MANY)
    evaluations = store.list(kinds.EVALUATIONS, limit=_MANY)
    return Lineage(
        dataset=dataset,
        ancestors=tuple(ancestors_of(store, dataset_id)),
        source_runs=tuple(_source_runs(store, dataset.source_run_ids)),
        version_ids=tuple(doc.key for doc in versions if doc.value.dataset_id == dataset_id),
        evaluation_ids=tuple(doc.key for doc in evaluations if doc.value.dataset_id == dataset_id),
    )


def _runs(store: DocStore) -> Iterator[IngestionRun]:
    """Every ingestion run on record, newest first, a page at a time."""
    before_ms, seen = None, set[str]()
    while True:
        docs = store.list(kinds.INGESTION, before_ms=before_ms, limit=_MANY)
        fresh = [doc for doc in docs if doc.key not in seen]
        yield from (doc.value for doc in fresh)
        if len(docs) < _MANY or not fresh:
            return
        seen = {doc.key for doc in docs}
        before_ms = docs[-1].at_ms + 1


def _source_runs(store: DocStore, run_ids: Sequence[str]) -> Iterator[IngestionRun]:
    """Those still on record. Datasets of older releases name the backfills' jobs instead."""
    for run_id in run_ids:
        run, job = store.get(kinds.INGESTION, run_id), store.get(kinds.JOBS, run_id)
        if run is not None:
            yield run.value
        elif job is not None:
            yield _run_of(job.value)


def _run_of(job: Job) -> IngestionRun:
    is_over = job.status not in {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED}
    return IngestionRun(
        run_id=job.job_id,
        source=BINGX,
        source_type="bingx_candles",
        kind=IngestionKind.BACKFILL,
        pair=str(job.arguments.get("pair", "")),
        interval=str(job.arguments.get("interval", "")),
        job_id=job.job_id,
        status=IngestionStatus(job.status.value) if is_over else IngestionStatus.RUNNING,
        started_ms=job.created_ms,
        updated_ms=job.updated_ms,
        finished_ms=job.updated_ms if is_over else None,
        new=int(job.result.get("new", 0)),
        error=job.error,
    )
