"""How one exchange class of ccxt is loaded without the other hundred.

`import ccxt.async_support` runs two package files that import every exchange twice, synchronous and
asynchronous: 92 MB of resident memory in each of our processes, of which the BingX class needs 44
(aiohttp alone is 25). The files of the class itself import only `ccxt.base` and names that the
package re-exports from there. So while the class is imported, both packages are stood in for by
modules that know their folder and those names; afterwards the stand-ins are taken out again, and a
later `import ccxt` gets the real package, with this very class in it.
"""

import importlib
import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_PARENTS = ("ccxt", "ccxt.async_support")


@cache
def bingx_class() -> type[Any]:
    """Return `ccxt.async_support.bingx`, unmodified, loading no other exchange."""
    stood_in = [_stand_in(name) for name in _PARENTS if name not in sys.modules]
    try:
        return importlib.import_module("ccxt.async_support.bingx").bingx
    finally:
        for parent in stood_in:
            del sys.modules[parent.__name__]


@cache
def ccxt_error() -> type[Exception]:
    """Return the root of ccxt's exceptions."""
    bingx_class()
    return sys.modules["ccxt.base.errors"].BaseError


def _stand_in(name: str) -> ModuleType:
    spec = PathFinder.find_spec("ccxt")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("ccxt is not installed", name="ccxt")
    home = Path(spec.submodule_search_locations[0])
    parent = ModuleType(name)
    parent.__path__ = [str(home.joinpath(*name.split(".")[1:]))]
    sys.modules[name] = parent
    if name == "ccxt":
        errors = importlib.import_module("ccxt.base.errors")
        parent.__dict__.update(
            {key: value for key, value in vars(errors).items() if not key.startswith("_")}
        )
        # the base class names itself and the errors `ccxt.Exchange`, `ccxt.NetworkError`, …
        parent.__dict__["Exchange"] = importlib.import_module("ccxt.base.exchange").Exchange
    return parent
