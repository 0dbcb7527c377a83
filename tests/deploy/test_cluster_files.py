"""The files that `ray up` takes: Ray's own check, ours, and what they run on the nodes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from desk.cli.cluster import file_problems, ray_refuses
from desk.cli.cluster_file import PLACEHOLDER, cluster_problems
from desk.cli.ray_cluster import JoinedCluster, environment_lines, joined, node_environment
from desk.errors import BadInput, SettingsError
from desk.settings import load_settings

ROOT = Path(__file__).parents[2]
FILES = ("cluster.yaml", "cluster-gcp.yaml", "cluster-local.yaml")
SCRIPTS = ROOT / "ops" / "cluster"


def config_of(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def filled(value: Any) -> Any:
    """The file as an operator hands it on: no place left to fill in."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    return PLACEHOLDER.sub("10.0.0.5:6379", value) if isinstance(value, str) else value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with all that is copied to the nodes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "raydesk-0.1.0-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "ops" / "cluster").mkdir(parents=True)
    token = tmp_path / ".raydesk" / "cluster" / "ray_token"
    token.parent.mkdir(parents=True)
    token.touch(0o600)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_ray_up_itself_takes_the_file(name: str) -> None:
    assert ray_refuses(config_of(name)) == ""


@pytest.mark.parametrize("name", FILES)
def test_what_is_to_be_filled_in_is_all_that_is_wrong(name: str, folder: Path) -> None:
    found = cluster_problems(config_of(name), folder)

    assert found
    assert all(problem.endswith("is to be filled in") for problem in found)
    assert cluster_problems(filled(config_of(name)), folder) == []


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return change


def setting(value: object, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config.setdefault(key, {})
        config[path[-1]] = value

    return change


NODE = ("available_node_types", "trading")
OPEN = {"GroupName": "raydesk", "IpPermissions": [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (setting("./nowhere", "file_mounts", "~/raydesk/dist"), "there is no ./nowhere"),
        (without("file_mounts", "~/raydesk/ray_token"), "no ray_token"),
        (without("provider", "use_internal_ips"), "provider.use_internal_ips"),
        (setting(OPEN, "provider", "security_group"), "provider.security_group"),
        (setting({"CPU": 0}, *NODE, "resources"), "no places for trading actors"),
        (setting({"CPU": 4, "trading": 1000}, *NODE, "resources"), "CPU must be 0"),
        (setting({"MarketType": "spot"}, *NODE, "node_config", "InstanceMarketOptions"), "spot"),
        (
            setting({"CPU": 1, "trading": 1}, "available_node_types", "learning", "resources"),
            "comes and goes",
        ),
        (setting(["ray start --head"], "head_start_ray_commands"), "RAY_REDIS_ADDRESS"),
        (setting(["ray start"], "worker_start_ray_commands"), "nothing starts Ray again"),
    ],
)
def test_what_ray_lets_pass_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], named: str, folder: Path
) -> None:
    config = filled(config_of("cluster.yaml"))
    change(config)

    assert named in " ".join(cluster_problems(config, folder))


def test_a_token_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / ".raydesk" / "cluster" / "ray_token").chmod(0o644)

    assert "chmod 600" in " ".join(cluster_problems(filled(config_of("cluster.yaml")), folder))


def test_a_misspelt_key_is_refused_by_rays_own_check(tmp_path: Path) -> None:
    config = deepcopy(config_of("cluster.yaml")) | {"max_wokers": 3}
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(config))

    assert "ray up refuses it" in " ".join(file_problems(file))


@pytest.mark.parametrize("text", ["", "[1, 2]", "provider: {", "cluster_name: x"])
def test_a_file_that_is_no_cluster_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)

    with pytest.raises(BadInput, match="file"):
        file_problems(file)


# --- on the nodes -------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """A machine with a home and a `sudo` that writes down what it was asked for."""
    (tmp_path / "raydesk").mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    sudo = tools / "sudo"
    sudo.write_text('#!/bin/sh\necho "$@" >> "$HOME/asked"\n')
    sudo.chmod(0o755)
    return {"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"}


def started(node: dict[str, str], role: str, **told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPTS / "start-node.sh"), role],
        env=node | told,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def read_environment(file: Path) -> dict[str, str]:
    """As a shell reads it."""
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"set -a; . {file}; {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'",
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return yaml.safe_load(done.stdout)


def test_what_rays_launcher_says_of_a_node_reaches_its_service(
    node: dict[str, str], tmp_path: Path
) -> None:
    resources = '{"CPU":0,"trading":1000}'
    done = started(
        node, "head", RAY_REDIS_ADDRESS="10.0.0.5:6379", RAY_OVERRIDE_RESOURCES=resources
    )

    assert done.returncode == 0, done.stderr
    kept = tmp_path / "raydesk" / "node.env"
    assert kept.stat().st_mode & 0o077 == 0
    found = read_environment(kept)
    assert found["RAY_OVERRIDE_RESOURCES"] == resources
    assert found["RAY_REDIS_ADDRESS"] == "10.0.0.5:6379"
    assert re.fullmatch(r"raydesk-\d+", found["RAY_external_storage_namespace"])
    assert load_settings(
        {"DESK_RAY_ADDRESS": found["DESK_RAY_ADDRESS"], "REDIS_URL": "redis://10.0.0.6:6379"}
    ).ray_address
    assert (tmp_path / "asked").read_text().splitlines() == [
        "systemctl restart raydesk-ray-head.service",
        "systemctl restart raydesk.service",
    ]


def test_a_worker_learns_where_its_head_is_and_nothing_of_the_store(
    node: dict[str, str], tmp_path: Path
) -> None:
    assert started(node, "worker", RAY_HEAD_IP="10.0.0.4").returncode == 0

    found = read_environment(tmp_path / "raydesk" / "node.env")
    assert found["RAY_HEAD_IP"] == "10.0.0.4"
    assert not {"REDIS_URL", "RAY_REDIS_ADDRESS", "DESK_RAY_ADDRESS"} & set(found)
    assert "raydesk-ray-worker" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(("role", "told"), [("head", {}), ("tail", {"RAY_HEAD_IP": "10.0.0.4"})])
def test_a_node_that_is_told_too_little_starts_nothing(
    node: dict[str, str], tmp_path: Path, role: str, told: dict[str, str]
) -> None:
    assert started(node, role, **told).returncode != 0
    assert not (tmp_path / "asked").exists()


def test_every_service_names_options_that_ray_and_desk_have() -> None:
    help_text = subprocess.run(
        [str(Path(sys.executable).parent / "ray"), "start", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    for unit in sorted(SCRIPTS.glob("*.service")):
        text = unit.read_text()
        for option in re.findall(r"ray start (.*)", text):
            for name in re.findall(r"--[a-z-]+", option):
                assert name in help_text, (unit.name, name)
        assert "Restart=always" in text
    assert len(list(SCRIPTS.glob("*.service"))) == 3


def test_the_environment_of_a_node_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    wanted = node_environment(Path("/home/ubuntu/raydesk/ray_token"))
    file = tmp_path / "ray.env"
    file.write_text(environment_lines(wanted.items()))

    found = read_environment(file)

    assert {name: found[name] for name in wanted} == wanted
    assert found["RAY_AUTH_MODE"] == "token"


# --- a desk on it -------------------------------------------------------------------------------


def test_a_desk_joins_a_cluster_only_with_a_store_that_its_nodes_reach() -> None:
    alone = {"DESK_RAY_ADDRESS": "10.0.0.4:6379"}

    with pytest.raises(SettingsError, match="REDIS_URL"):
        joined(load_settings(alone))
    cluster = joined(load_settings(alone | {"REDIS_URL": "redis://10.0.0.6:6379"}))
    assert cluster is not None
    assert cluster.address == "10.0.0.4:6379"
    assert joined(load_settings({})) is None


@pytest.mark.parametrize("address", ["auto", "10.0.0.4", "10.0.0.4:", ":6379", "10.0.0.4:99999"])
def test_an_address_without_host_or_port_is_refused_by_name(address: str) -> None:
    with pytest.raises(SettingsError, match="DESK_RAY_ADDRESS"):
        load_settings({"DESK_RAY_ADDRESS": address})


def test_an_absence_of_the_head_is_told_once_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, answers = JoinedCluster("127.0.0.1:1"), iter([True, False, False, True, True])
    monkeypatch.setattr("desk.cli.ray_cluster.CHECK_EVERY_S", 0.0)
    monkeypatch.setattr(cluster, "is_there", lambda: next(answers))

    assert [cluster.came_back() for _ in range(5)] == [False, False, False, True, False]
