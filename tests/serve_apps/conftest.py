"""A desk in memory and clients of its API."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.serve_apps.scene import HERE, TOKEN, Scene, make_scene


@pytest.fixture
def scene() -> Scene:
    return make_scene()


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
