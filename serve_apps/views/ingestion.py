"""Ingestion runs as the API shows them."""

from dataclasses import asdict

from desk.market.ingestion import IngestionRun
from serve_apps.schemas import IngestionRunView


def run_view(run: IngestionRun) -> IngestionRunView:
    """One run."""
    return IngestionRunView.model_validate(asdict(run))
