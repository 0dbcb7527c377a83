"""`desk backup` and `desk restore`: a copy of the desk, and the way back."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from actors.run_file import RunFile
from desk.cli.output import Json, console, show
from desk.cli.progress import bars
from desk.errors import BadInput
from desk.settings import load_settings
from desk.store.backup import Backup, Progress, back_up
from desk.store.backup import restore as bring_back
from desk.wallclock import monotonic_s


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder outside of DESK_HOME.")],
    *,
    as_json: Json = False,
) -> None:
    """Copy the desk while it runs or not, and load the copy once to see that it can be read.

    With `REDIS_URL` the store is left to its own tools, and only files are copied.
    """
    settings = load_settings()
    began_s, has_store = monotonic_s(), settings.redis_url is None
    with _shown(is_shown=not as_json) as told:
        made = back_up(
            settings.home,
            folder.expanduser().absolute(),
            release=version("raydesk"),
            has_store=has_store,
            told=told,
        )
    text = _words(made, "copied", monotonic_s() - began_s)
    if not has_store:
        text += "; the store at REDIS_URL is not in it: copy it with its own tools"
    if settings.files is not None:
        text += f"; the files at {settings.files} are not in it: keep versions of them there"
    show(_answer(made), text, as_json=as_json)


def restore(
    folder: Annotated[Path, typer.Argument(help="A copy that `desk backup` made.")],
    *,
    as_json: Json = False,
) -> None:
    """Bring a copy back into an empty DESK_HOME, and prove that its state is the same."""
    settings = load_settings()
    if RunFile.read(settings.home) is not None:
        raise BadInput("DESK_HOME", f"a desk runs in {settings.home}: `desk down` first")
    began_s = monotonic_s()
    with _shown(is_shown=not as_json) as told:
        brought = bring_back(folder.expanduser().absolute(), settings.home, told=told)
    show(_answer(brought), _words(brought, "restored", monotonic_s() - began_s), as_json=as_json)


@contextmanager
def _shown(*, is_shown: bool) -> Generator[Progress]:
    with bars(console, is_shown=is_shown) as progress:
        task = progress.add_task("", total=None, detail="", visible=False)

        def told(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of, visible=True)

        yield told


def _answer(made: Backup) -> dict[str, object]:
    return {
        "files": len(made.files),
        "total_bytes": made.total_bytes,
        "rows": made.rows,
        "state_sha256": made.state_sha256,
        "release": made.release,
        "made_wall_ms": made.made_wall_ms,
    }


def _words(made: Backup, done: str, took_s: float) -> str:
    size = made.total_bytes / (1 << 20)
    state = f", {made.rows} rows, state {made.state_sha256[:12]}" if made.state_sha256 else ""
    return f"{done}: {len(made.files)} files, {size:.1f} MiB{state} in {took_s:.1f} s"
