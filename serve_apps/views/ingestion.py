"""Ingestion runs as the API shows them."""

from dataclasses import asdict

from desk.market.ingestion import IngestionRun
from desk.market.retries import RetryItem
from desk.store.port import Doc
from serve_apps.schemas import IngestionRunView, RetryView
from serve_apps.views.text import json_object


def run_view(run: IngestionRun) -> IngestionRunView:
    """One run."""
    return IngestionRunView.model_validate(asdict(run))


def retry_view(doc: Doc[RetryItem]) -> RetryView:
    """One item of the retry queue."""
    item = doc.value
    return RetryView(
        item_id=item.item_id,
        job_type=item.job_type,
        payload=json_object(item.payload),
        dedupe_key=item.dedupe_key,
        status=item.status.value,
        attempts=item.attempts,
        max_attempts=item.max_attempts,
        next_attempt_at_ms=item.next_attempt_at_ms,
        last_error=item.last_error,
        created_ms=item.created_ms,
        updated_ms=item.updated_ms,
        row_version=doc.version,
    )
