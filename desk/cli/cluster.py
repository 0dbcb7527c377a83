"""`desk cluster`: what a cluster's nodes are started with, and a check before `ray up`."""

import logging
import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from desk.cli.cluster_file import Config, cluster_problems
from desk.cli.output import Json, show
from desk.cli.ray_cluster import environment_lines, node_environment, write_token
from desk.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="A desk on several machines: see docs/deployment.md.")
File = Annotated[Path, typer.Argument(help="As `ray up` takes it.")]


@app.command()
def env(
    token_file: Annotated[Path, typer.Option(help="The cluster's token on that node.")],
) -> None:
    """Print the environment that Ray is started with on every node, as a systemd EnvironmentFile."""
    typer.echo(environment_lines(node_environment(token_file).items()), nl=False)


@app.command()
def token(
    file: Annotated[Path, typer.Argument(help="Where to keep it.")] = Path(
        "~/.raydesk/cluster/ray_token"
    ),
    *,
    as_json: Json = False,
) -> None:
    """Make the token without which nobody commands the cluster."""
    path = file.expanduser()
    try:
        write_token(path)
    except FileExistsError:
        raise BadInput("file", f"{path} exists: a token in use is never replaced") from None
    show({"file": str(path)}, f"kept in {path}", as_json=as_json)


@app.command()
def check(file: File, *, as_json: Json = False) -> None:
    """Check a cluster file by Ray's own rules and by ours, and name every place to fill in."""
    problems = file_problems(file)
    answer = {"file": str(file), "problems": problems}
    text = "\n".join(f"✗ {problem}" for problem in problems) or f"✓ {file} is fit for ray up"
    show(answer, text, as_json=as_json)
    if problems:
        raise typer.Exit(1)


def file_problems(file: Path) -> list[str]:
    """What Ray and we have against a cluster file. Raises `BadInput` for one that is none."""
    try:
        config: Any = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as wrong:
        raise BadInput("file", f"{file} cannot be read: {wrong}") from None
    if not isinstance(config, Mapping) or "provider" not in config:
        raise BadInput("file", f"{file} is no cluster file: it has no provider")
    named = cast("Config", config)
    refused = ray_refuses(named)
    return [refused] if refused else cluster_problems(named, Path.cwd())


def ray_refuses(config: Config) -> str:
    """What `ray up` itself has against it; empty: nothing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Private, and the only place where Ray looks at such a file without starting machines.
    from ray.autoscaler._private.util import (  # noqa: PLC0415 - half a second, and Ray's settings
        prepare_config,
        validate_config,
    )

    untyped_prepare: Any = prepare_config
    untyped_validate: Any = validate_config
    logging.disable(logging.WARNING)  # it tells of every mount that is a file
    try:
        untyped_validate(untyped_prepare(deepcopy(dict(config))))
    except Exception as refused:  # noqa: BLE001 - Ray raises whatever its schema's library does
        return f"ray up refuses it: {str(refused).splitlines()[0]}"
    finally:
        logging.disable(logging.NOTSET)
    return ""
