"""A disk that tells what reached it, and can be made slow: `fsync_log.c` in front of the real one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "fsync_log.c"


def built_shim(folder: Path) -> Path:
    """The compiled log of what reached the disk; skips, or fails in CI, without a compiler."""
    if shutil.which("cc") is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no C compiler: the disk's failures cannot be tried")
        pytest.skip("no C compiler (cc) to build the fsync log with")
    built = folder / "fsync_log.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return built
