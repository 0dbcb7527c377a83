"""A desk in memory and clients of its API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from desk.store.evaluation_files import EvaluationFiles
from tests.serve_apps.scene import HERE, TOKEN, Scene, make_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = make_scene()
    made.reports = EvaluationFiles(tmp_path / "evaluations")
    return made


@pytest.fixture
def client(scene: Scene) -> Iterator[TestClient]:
    """A client on the same machine, of a server without a token."""
    with TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 50_000)) as opened:
        yield opened


@pytest.fixture
def guarded(scene: Scene) -> Iterator[TestClient]:
    """A client without credentials, of a server with a token; redirects are not followed."""
    app = scene.app(token=TOKEN)
    with TestClient(app, base_url="https://127.0.0.1:8000", follow_redirects=False) as opened:
        yield opened
