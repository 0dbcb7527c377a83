"""A Ray of this process's own, for training from a terminal without a running desk."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_TRIES = 4
"""On a busy machine Ray gives up waiting for its own agent after 15 s, in about one start of four."""


@contextmanager
def private_ray(cpus: int = 1, object_store_bytes: int = 100 * 2**20) -> Generator[None]:
    """Run the block with a private Ray of so many CPUs; a Ray that is already connected is used instead.

    Its files live in a temporary folder, its ports ask for a random token, both end with the block.
    """
    folder = Path(tempfile.mkdtemp(prefix="rd-"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    for name, value in {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
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
            _start(untyped, folder, cpus, object_store_bytes)
        yield
    finally:
        if ours:
            untyped.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _start(ray: Any, folder: Path, cpus: int, object_store_bytes: int) -> None:
    for left in range(START_TRIES - 1, -1, -1):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                _temp_dir=str(folder),
                object_store_memory=object_store_bytes,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except Exception:  # Ray raises plain Exceptions; the last one is the caller's
            ray.shutdown()
            if not left:
                raise
        else:
            return
