"""A pickle that comes in by any door is refused, and nothing in it runs."""

import base64
import pickle
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.serve_apps.scene import Scene, make_scene

PROJECT = Path(__file__).parents[2]
PACKAGES = ("desk", "actors", "serve_apps", "tune_configs")
_MODULES = "(?:pickle|cloudpickle|dill|joblib|torch|shelve|marshal)"
UNPICKLES = re.compile(
    rf"\b{_MODULES}\.(?:load|loads|open|Unpickler)\b|from {_MODULES} import .*(?:load|Unpickler)"
)
pytestmark = pytest.mark.catalogue("S08")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_S08_no_route_takes_a_pickle(client: TestClient, scene: Scene, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    payload = pickle.dumps(Trap(trap))
    text = base64.b64encode(payload).decode()
    disguises = [
        {"content": payload, "headers": {"content-type": "application/octet-stream"}},
        {"content": payload, "headers": {"content-type": "application/x-pickle"}},
        {"content": payload, "headers": {"content-type": "application/json"}},
        {"files": {"artifact": ("policy.safetensors", payload)}},
        {"json": {"artifact": text, "artifact_uri": f"data:;base64,{text}", "payload": text}},
    ]
    writes = [
        (method, path)
        for path, operations in scene.app().openapi()["paths"].items()
        for method in operations
        if method != "get" and not path.startswith("/webhooks/")
    ]
    assert len(writes) > 20
    for method, path in writes:
        for disguise in disguises:
            target = re.sub(r"\{\w+\}", "x", path)
            answer = client.request(method.upper(), target, **disguise)
            assert answer.status_code < 500, (path, answer.text)

    assert not trap.exists()
    pickle.loads(payload)
    assert trap.exists(), "the trap works"


def test_S08_only_json_and_forms_are_described() -> None:
    bodies = {
        kind
        for operations in make_scene().app().openapi()["paths"].values()
        for operation in operations.values()
        for kind in operation.get("requestBody", {}).get("content", {})
    }

    assert bodies <= {"application/json", "application/x-www-form-urlencoded", "text/plain"}


def test_S08_nothing_of_ours_unpickles() -> None:
    sources = {
        path: path.read_text() for package in PACKAGES for path in (PROJECT / package).rglob("*.py")
    }

    assert UNPICKLES.search("x = torch.load(path)"), "the search sees a call"
    assert UNPICKLES.search("from pickle import loads"), "and an import"
    assert len(sources) > 200
    assert not [path for path, source in sources.items() if UNPICKLES.search(source)]
