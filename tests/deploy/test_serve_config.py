"""`serve_config.yaml` beside what `desk up` deploys: the same applications, the same bounds."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.run_file import RunFile
from desk.errors import SettingsError
from desk.settings import load_settings
from serve_apps import operator_api, policy
from serve_apps.running import running_desk

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
BUILDERS = {"policy": policy.build, "operator": operator_api.build}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def running(home: Path, ray_session: None) -> Path:
    (home / "run").mkdir()
    RunFile(
        pid=1,
        api_url="http://127.0.0.1:8000",
        venue_url="http://127.0.0.1:9",
        venue_name="simulator 60x",
        store_url="redis://127.0.0.1:9",
        ray_address="127.0.0.1:6379",
        ray_dashboard_url="",
        started_wall_ms=1,
    ).write(home)
    return home


def test_serve_itself_takes_the_file() -> None:
    schema: Any = import_module("ray.serve.schema")  # warns of its own pydantic at import
    schema.ServeDeploySchema.model_validate(CONFIG)

    assert "request_timeout_s" not in CONFIG["http_options"], "it would cut the event streams"


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("number", [0, 1])
def test_the_file_names_what_the_desk_deploys_with_its_bounds(running: Path, number: int) -> None:
    described = CONFIG["applications"][number]
    module, _, name = described["import_path"].partition(":")
    assert BUILDERS[described["name"]].__module__ == module
    assert BUILDERS[described["name"]].__name__ == name

    built = BUILDERS[described["name"]]({})._bound_deployment
    stated = dict(described["deployments"][0])

    assert built.name == stated.pop("name")
    assert stated
    assert {key: getattr(built._deployment_config, key) for key in stated} == stated


def test_before_the_launcher_wrote_it_down_the_settings_say_where_the_desk_is(home: Path) -> None:
    whole = {
        "DESK_HOME": str(home),
        "REDIS_URL": "redis://:secret@10.0.0.6:6379/0",
        "BINGX_BASE_URL": "vst",
    }
    found = running_desk(load_settings(whole))

    assert found.store_url == whole["REDIS_URL"]
    assert (found.venue_name, found.venue_url) == ("vst", "vst")
    for missing in ("REDIS_URL", "BINGX_BASE_URL"):
        rest = {name: value for name, value in whole.items() if name != missing}
        with pytest.raises(SettingsError, match="desk up"):
            running_desk(load_settings(rest))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_without_a_running_desk_the_command_says_so(home: Path, build: Any) -> None:
    with pytest.raises(SettingsError, match="desk up"):
        build({})
