"""How rules are compiled: without the interpreter's lock, by exact arithmetic, and kept on disk.

numba takes what it kept for as long as the file of that very function is unchanged, though other
files' rules were compiled into it. Kept code that is older than a rule would train by the old one,
so what is kept is named after everything that it may have been made from.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

_DESK = Path(__file__).parents[1]
_settings: Any = config
_njit: Any = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")


def compiled(function: Callable[..., Any], *, of: tuple[str, ...]) -> Any:
    """Compile a function at its first call. Its divisions by zero are those of IEEE 754.

    `of` names the folders below `desk` of whose modules it and all it calls are made.
    """
    others = _settings.CACHE_DIR
    _settings.CACHE_DIR = str(Path(others or Path(__file__).parent / "__pycache__") / _folder(of))
    try:
        return _njit(function)
    finally:
        _settings.CACHE_DIR = others


@cache
def _folder(of: tuple[str, ...]) -> str:
    sources = sorted(path for name in of for path in (_DESK / name).glob("*.py"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    return f"compiled-{digest[:16]}"
