"""What Ray's own check of a cluster file lets pass and would cost money or sleep afterwards."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

type Config = Mapping[str, Any]

PLACEHOLDER = re.compile(r"<[^<>]+>")
SPOT = ("InstanceMarketOptions", "scheduling")
_REDIS = re.compile(r"RAY_REDIS_ADDRESS=(\S+|<[^<>]+>)")


def cluster_problems(config: Config, folder: Path) -> list[str]:
    """What is wrong with a cluster file, each with where it stands; nothing for a good one.

    `folder` is where `ray up` is run: what it copies to the nodes has to be there.
    """
    return [
        *(f"{where}: {text!r} is to be filled in" for where, text in _placeholders(config, "")),
        *_mounts(config, folder),
        *_planes(config),
        *_network(config),
        *_starts(config),
    ]


def _placeholders(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        for found in PLACEHOLDER.findall(value):
            yield where, found
        return
    inside: dict[str, Any] = {}
    if isinstance(value, Mapping):
        dot, named = "." if where else "", cast("Config", value)
        inside = {f"{where}{dot}{key}": item for key, item in named.items()}
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        inside = {f"{where}[{number}]": item for number, item in enumerate(items)}
    for place, item in inside.items():
        yield from _placeholders(item, place)


def _mounts(config: Config, folder: Path) -> Iterator[str]:
    mounts: Mapping[str, str] = config.get("file_mounts") or {}
    for target, source in mounts.items():
        path = folder / Path(source).expanduser()
        if not path.exists():
            yield f"file_mounts.{target}: there is no {source}: {_remedy(source)}"
        elif path.name == "dist" and not list(path.glob("raydesk-*.whl")):
            yield f"file_mounts.{target}: no wheel in {source}: {_remedy(source)}"
        elif path.name == "ray_token" and path.stat().st_mode & 0o077:
            yield f"file_mounts.{target}: {source} can be read by others: chmod 600 {source}"
    if not any(Path(source).name == "ray_token" for source in mounts.values()):
        yield "file_mounts: no ray_token: without one anybody in the network commands the cluster"


def _remedy(source: str) -> str:
    match Path(source).name:
        case "dist":
            return "make wheel"
        case "ray_token":
            return f"desk cluster token {source}"
        case _:
            return "run this where the file lies, in the project's folder"


def _planes(config: Config) -> Iterator[str]:
    if config["provider"]["type"] == "local":
        starts = " ".join(config.get("head_start_ray_commands") or ())
        if '"trading"' not in starts:
            yield "head_start_ray_commands: RAY_OVERRIDE_RESOURCES gives no places to trading actors"
        return
    head = config["head_node_type"]
    for name, node in config["available_node_types"].items():
        where = f"available_node_types.{name}"
        resources: Config = node.get("resources") or {}
        if name == head:
            if not resources.get("trading"):
                yield f"{where}.resources: no places for trading actors: trading: 1000"
            if resources.get("CPU") != 0:
                yield f"{where}.resources: CPU must be 0, or trainings run beside the trading"
            if any(key in node.get("node_config", {}) for key in SPOT):
                yield f"{where}.node_config: a spot machine is taken away while it holds positions"
        elif resources.get("trading"):
            yield f"{where}.resources: trading actors would run on a machine that comes and goes"


def _network(config: Config) -> Iterator[str]:
    provider: Config = config["provider"]
    if provider["type"] != "local" and not provider.get("use_internal_ips"):
        yield "provider.use_internal_ips: Ray listens on every address: keep its nodes private"
    group: Config = provider.get("security_group") or {}
    permissions: list[dict[str, list[dict[str, str]]]] = group.get("IpPermissions") or []
    for permission in permissions:
        if any(each.get("CidrIp") == "0.0.0.0/0" for each in permission.get("IpRanges", [])):
            yield "provider.security_group: open to everybody: name your own network"


def _starts(config: Config) -> Iterator[str]:
    head = " ".join(config.get("head_start_ray_commands") or ())
    found = _REDIS.search(head)
    if found is None:
        yield (
            "head_start_ray_commands: no RAY_REDIS_ADDRESS: without a Redis of Ray's own every node"
            " is lost with the head"
        )
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = " ".join(config.get(name) or ())
        if "start-node.sh" not in commands and "--block" not in commands:
            yield f"{name}: nothing starts Ray again when it ends: use ops/cluster/start-node.sh"
