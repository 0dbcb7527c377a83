"""The manifests for Kubernetes: every field known, the same desk as `cluster.yaml` sets up, nothing public."""

import json
import os
import re
import signal
import subprocess
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from desk.cli.ray_cluster import node_environment
from desk.learning.sweep_file import parse_sweep
from desk.learning.sweeps import TrainingSweep
from desk.learning.training_spec import ALGORITHMS
from desk.settings import setting_names
from tests.deploy.kuberay_fields import MODELS, ClusterSpec, CronSpec, RayCronJob, RayService

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kuberay"
POD = ROOT / "ops" / "cluster" / "pod.sh"
FILES = ("base.yaml", "rayservice.yaml", "raycronjob.yaml")
PLACES = {"head": {"trading": 1000}, "learning": {"learning": 1000}}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


ALL = [document for name in FILES for document in documents(name)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in ALL if document["kind"] == kind]


SERVICE = RayService.model_validate(of_kind("RayService")[0])
CRON = RayCronJob.model_validate(of_kind("RayCronJob")[0])
DESK, SWEEP = SERVICE.spec.rayClusterConfig, CRON.spec.jobTemplate.rayClusterSpec


def starts(params: dict[str, str]) -> dict[str, Any]:
    """What Ray is given: numbers and resources as the shell hands them on."""
    resources = params.get("resources", '"{}"')
    return {
        "cpus": float(params["num-cpus"]),
        "gpus": float(params.get("num-gpus", "0")),
        "resources": json.loads(json.loads(resources)),
    }


def test_every_field_is_one_we_know() -> None:
    assert {document["kind"] for document in ALL} == set(MODELS)
    for document in ALL:
        MODELS[document["kind"]].model_validate(document)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(found for key, item in items for found in _paths(item, (*path, key)))]


@pytest.mark.parametrize("kind", ["RayService", "RayCronJob", "NetworkPolicy"])
def test_a_misspelt_field_anywhere_is_an_error(kind: str) -> None:
    document = of_kind(kind)[0]
    free = {"annotations", "labels", "matchLabels", "rayStartParams", "data"}
    tried = 0
    for path in _paths(document):
        changed = deepcopy(document)
        inside: Any = changed
        for key in path:
            inside = inside[key]
        if not isinstance(inside, dict) or free & set(map(str, path)):
            continue
        inside["misspelt"] = 1
        tried += 1
        with pytest.raises(ValidationError):
            MODELS[kind].model_validate(changed)
    assert tried >= 4


@pytest.mark.parametrize(
    "schedule",
    [
        "0 2 * *",
        "60 2 * * *",
        "0 24 * * *",
        "0 2 0 * *",
        "0 2 * 13 *",
        "0 2 * * 7",
        "a 2 * * *",
        "5-1 * * * *",
    ],
)
def test_a_schedule_that_is_none_is_an_error(schedule: str) -> None:
    with pytest.raises(ValidationError):
        CronSpec.model_validate({**of_kind("RayCronJob")[0]["spec"], "schedule": schedule})


def test_the_operators_own_schemas_take_the_files() -> None:
    given = os.environ.get("KUBERAY_CRDS")
    if given is None:
        pytest.skip("KUBERAY_CRDS names no folder with the operator's definitions")
    kinds = {"RayService": "ray.io_rayservices.yaml", "RayCronJob": "ray.io_raycronjobs.yaml"}
    for kind, file in kinds.items():
        definition = yaml.safe_load((Path(given) / file).read_text())
        [schema] = [
            one["schema"]["openAPIV3Schema"]
            for one in definition["spec"]["versions"]
            if one["name"] == "v1"
        ]
        jsonschema.validate(of_kind(kind)[0], closed(schema))


def closed(schema: Any) -> Any:
    """A definition that refuses what the API server would drop without a word."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    fresh = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        fresh.setdefault("additionalProperties", False)
    return fresh


def test_a_closed_definition_refuses_what_it_does_not_name() -> None:
    schema = closed(
        {
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}},
        }
    )
    jsonschema.validate({"spec": {"a": "x"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": {"b": "x"}}, schema)


# --- the same desk ----------------------------------------------------------------------------------


def test_serve_runs_what_serve_config_says() -> None:
    assert SERVICE.spec.serveConfigV2 == (ROOT / "serve_config.yaml").read_text()


def test_the_nodes_give_what_those_of_cluster_yaml_give() -> None:
    machines = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    given = {"trading": starts(DESK.headGroupSpec.rayStartParams)} | {
        group.groupName.replace("-", "_"): starts(group.rayStartParams)
        for group in DESK.workerGroupSpecs
    }
    wanted = {
        name: {
            "cpus": node["resources"]["CPU"],
            "gpus": node["resources"].get("GPU", 0),
            "resources": {
                key: value for key, value in node["resources"].items() if key not in {"CPU", "GPU"}
            },
        }
        for name, node in machines.items()
    }
    assert given == wanted
    most = {group.groupName.replace("-", "_"): group.maxReplicas for group in DESK.workerGroupSpecs}
    assert most == {name: machines[name]["max_workers"] for name in most}
    assert all(group.minReplicas == 0 for group in DESK.workerGroupSpecs)


@pytest.mark.parametrize("cluster", [DESK, SWEEP], ids=["desk", "sweep"])
def test_what_ray_promises_a_pod_has(cluster: ClusterSpec) -> None:
    for group in cluster.workerGroupSpecs:
        limits = group.template.spec.containers[0].resources.limits
        stated = starts(group.rayStartParams)
        assert float(limits["cpu"]) == stated["cpus"]
        assert float(limits.get("nvidia.com/gpu", "0")) == stated["gpus"]
        ports = group.template.spec.containers[0]
        assert str(ports.livenessProbe.tcpSocket.port) == group.rayStartParams["node-manager-port"]
    assert starts(cluster.headGroupSpec.rayStartParams)["cpus"] == 0
    assert cluster.rayVersion == version("ray")


def test_every_ray_process_has_the_environment_of_a_machines() -> None:
    [settings] = [one["data"] for one in of_kind("ConfigMap")]
    token = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}  # the operator's, by authOptions
    wanted = {k: v for k, v in node_environment(Path("/")).items() if k not in token}
    desk = {key: value for key, value in settings.items() if key in setting_names()}

    assert {key: value for key, value in settings.items() if key not in desk} == wanted
    assert set(desk) == {"DESK_HOME", "DESK_FILES"}


def _secrets(template: Any) -> set[str]:
    return {
        one.secretRef.name
        for one in template.spec.containers[0].envFrom
        if one.secretRef is not None
    }


def test_keys_of_the_exchange_reach_the_pod_that_trades_alone() -> None:
    assert _secrets(DESK.headGroupSpec.template) == {"raydesk-desk", "raydesk-files"}
    assert _secrets(SWEEP.headGroupSpec.template) == {"raydesk-sweep", "raydesk-files"}
    for group in (*DESK.workerGroupSpecs, *SWEEP.workerGroupSpecs):
        assert _secrets(group.template) == {"raydesk-files"}


def test_folders_are_where_the_settings_say_and_each_cluster_has_its_own() -> None:
    claims = {claim["metadata"]["name"] for claim in of_kind("PersistentVolumeClaim")}
    [settings] = [one["data"] for one in of_kind("ConfigMap")]
    used: list[set[str]] = []
    for cluster in (DESK, SWEEP):
        templates = [
            cluster.headGroupSpec.template,
            *(one.template for one in cluster.workerGroupSpecs),
        ]
        for template in templates:
            paths = {
                mount.name: mount.mountPath for mount in template.spec.containers[0].volumeMounts
            }
            assert paths["home"] == settings["DESK_HOME"]
        used.append(
            {
                volume.persistentVolumeClaim.claimName
                for template in templates
                for volume in template.spec.volumes
                if volume.persistentVolumeClaim is not None
            }
        )
    assert [len(one) for one in used] == [1, 1]
    assert used[0] | used[1] == claims
    assert not used[0] & used[1], "a sweep's cluster would take the desk's run file for its own"


def test_nothing_is_reached_from_outside_and_ray_has_a_redis_of_its_own() -> None:
    kinds = {document["kind"] for document in ALL}
    assert not kinds & {"Service", "Ingress", "Gateway"}
    [policy] = of_kind("NetworkPolicy")
    for cluster in (DESK, SWEEP):
        for group in (cluster.headGroupSpec, *cluster.workerGroupSpecs):
            assert group.template.metadata.labels == policy["spec"]["podSelector"]["matchLabels"]
    assert DESK.gcsFaultToleranceOptions is not None
    assert SERVICE.spec.upgradeStrategy.type == "None", "a second head would trade beside the first"


def test_the_page_names_every_file_and_secret() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    assert all(name in page for name in ("base.yaml", "rayservice.yaml", "raycronjob.yaml"))
    for secret in ("raydesk-desk", "raydesk-files", "raydesk-sweep", "raydesk-ray-redis"):
        assert f"kubectl create secret generic {secret} " in page


def test_the_nightly_sweep_is_one_we_ship_and_its_time_is_enough() -> None:
    job = CRON.spec.jobTemplate
    name = re.search(r"desk tune \S*/([a-z_]+[.]yaml)", job.entrypoint)
    assert name is not None
    sweep = parse_sweep(
        (ROOT / "tune_configs" / name[1]).read_text(), name[1], algorithms=ALGORITHMS
    )
    assert isinstance(sweep, TrainingSweep)
    assert sweep.budget.wall_minutes * 60 < job.activeDeadlineSeconds < 24 * 3600


def test_the_image_is_made_by_the_steps_of_a_machine() -> None:
    script = (ROOT / "ops" / "cluster" / "install.sh").read_text().splitlines()
    image = (FOLDER / "Dockerfile").read_text()
    steps = [line for line in script if line.startswith("uv ") or "serve_apps.ui.vendor" in line]

    assert len(steps) == 4
    assert [line for line in steps if f"RUN {line}" not in image] == []
    assert (f"COPY --chown=raydesk {POD.relative_to(ROOT)}") in image


# --- what a pod runs --------------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """`ray` and `desk` that write down how they were called."""
    for name, does in {
        "ray": 'echo "ray $*" >> "$LOG"; trap "exit 0" TERM; for _ in $(seq 200); do sleep 0.1; done',
        "desk": 'echo "desk $* at $DESK_RAY_ADDRESS" >> "$LOG"; exit 1',
    }.items():
        tool = tmp_path / name
        tool.write_text(f"#!/usr/bin/env bash\n{does}\n")
        tool.chmod(0o755)
    command = 'ray start --head --block --num-cpus=0 --resources="{\\"trading\\": 1000}"'
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "POD_AGAIN_S": "0.1",
        "KUBERAY_GEN_RAY_START_CMD": command,
    }


def _lines(tools: dict[str, str], process: subprocess.Popen[bytes], count: int) -> list[str]:
    log, lines = Path(tools["LOG"]), list[str]()
    for _ in range(100):
        lines = log.read_text().splitlines() if log.exists() else []
        if len(lines) >= count:
            break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    return lines


def test_a_head_runs_ray_and_starts_the_desk_again_as_often_as_it_ends(
    tools: dict[str, str],
) -> None:
    process = subprocess.Popen([POD, "head"], env=tools)
    ray, *desks = sorted(_lines(tools, process, 4), reverse=True)

    assert ray == 'ray start --head --block --num-cpus=0 --resources={"trading": 1000}'
    assert len(desks) >= 2
    assert all(re.fullmatch(r"desk up --no-run at [0-9.]+:6379", line) for line in desks)


def test_a_worker_runs_ray_alone_and_a_wrong_role_nothing(tools: dict[str, str]) -> None:
    process = subprocess.Popen([POD, "worker"], env=tools)
    assert [line.split()[0] for line in _lines(tools, process, 1)] == ["ray"]

    assert (
        subprocess.run([POD, "desk"], env=tools, check=False, capture_output=True).returncode == 2
    )
