"""How rules are compiled: without the interpreter's lock, by exact arithmetic, and kept on disk.

numba takes what it kept for as long as the file of that very function is unchanged, though other
files' rules were compiled into it. Kept code that is older than a rule would train by the old one,
so what is kept is named after everything that it may have been made from.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

_HERE = Path(__file__).parent
_SOURCES = sorted([*_HERE.glob("*.py"), *(_HERE.parent / "trading").glob("*.py")])


def _folder() -> str:
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in _SOURCES)).hexdigest()
    return str(Path(_settings.CACHE_DIR or _HERE / "__pycache__") / f"compiled-{digest[:16]}")


_settings: Any = config
_njit: Any = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_KEPT_IN = _folder()


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call. Its divisions by zero are those of IEEE 754."""
    others = _settings.CACHE_DIR
    _settings.CACHE_DIR = _KEPT_IN
    try:
        return _njit(function)
    finally:
        _settings.CACHE_DIR = others
