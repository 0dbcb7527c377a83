"""A Ray of this process's own, for training from a terminal without a running desk."""

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

START_TRIES = 4
"""On a busy machine Ray gives up waiting for its own agent after 15 s, in about one start of four."""


OBJECT_STORE_BYTES = 100 * 2**20
SHARED_STORE_BYTES = 512 * 2**20
"""Where runners of their own look at the environment's arrays: a year of 1m candles with 30 features is
about 150 MB, and each batch of steps comes on top. Memory is taken as it is used."""


@contextmanager
def private_ray(processors: int = 1) -> Generator[None]:
    """Run the block with a private Ray; a Ray that is already connected is used instead.

    `processors` says how many actors it may run at a time, the caller's own process counted.

    Its files live in a temporary folder and end with the block. Its ports ask for a random token.
    """
    folder = Path(tempfile.mkdtemp(prefix="rd-"))
    for name, value in {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token_file()),
        "RAY_TMPDIR": str(folder),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }.items():
        os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415 - Ray reads these variables when it is imported

    untyped: Any = ray
    ours = not untyped.is_initialized()
    try:
        if ours:
            _start(untyped, folder, processors)
        yield
    finally:
        if ours:
            untyped.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _token_file() -> Path:
    """One for as long as this process lives: Ray reads it once, and every Ray that is started later in
    the same process is asked with what was read then."""
    folder = Path(tempfile.mkdtemp(prefix="rd-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return token


def _start(ray: Any, folder: Path, processors: int) -> None:
    for left in range(START_TRIES - 1, -1, -1):
        try:
            ray.init(
                address="local",
                num_cpus=processors,
                include_dashboard=False,
                _temp_dir=str(folder),
                object_store_memory=SHARED_STORE_BYTES if processors > 1 else OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except Exception:  # Ray raises plain Exceptions; the last one is the caller's
            ray.shutdown()
            if not left:
                raise
        else:
            return
