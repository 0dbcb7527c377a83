"""The lightly loaded BingX class is ccxt's own, in every description, and stays the only one."""

import json
import subprocess
import sys

_LIGHT = """
import json, sys
from desk.venues.ccxt_light import bingx_class, ccxt_error
light = bingx_class()
exchanges = [name for name in sys.modules if name.startswith("ccxt.async_support.")
             and name.count(".") == 2 and name.split(".")[2] != "base"]
describe = light({"asyncio_loop": object()}).describe()
resident = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
"""

_FULL = """
import ccxt.async_support
resident = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
describe = ccxt.async_support.bingx({"asyncio_loop": object()}).describe()
"""


def _run(script: str, answer: str) -> object:
    code = f"{script}\nprint(json.dumps({answer}, sort_keys=True, default=repr))"
    done = subprocess.run(
        [sys.executable, "-c", "import json\n" + code], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_light_class_describes_itself_exactly_as_the_full_package_does() -> None:
    assert _run(_LIGHT, "describe") == _run(_FULL, "describe")


def test_light_load_imports_no_other_exchange_and_saves_memory() -> None:
    exchanges, light_kib = _run(_LIGHT, "[exchanges, resident]")  # type: ignore[misc]
    full_kib = _run(_FULL, "resident")

    assert exchanges == ["ccxt.async_support.bingx"]
    assert light_kib < 0.75 * full_kib  # type: ignore[operator]


def test_full_package_imported_later_holds_the_same_class() -> None:
    later = _LIGHT + "\nimport ccxt, ccxt.async_support, ccxt.async_support as again\n"

    same = _run(
        later,
        "[ccxt.async_support.bingx is light, again.binance.__name__, ccxt.kraken.__name__,"
        " ccxt.BaseError is ccxt_error()]",
    )

    assert same == [True, "binance", "kraken", True]


def test_light_load_takes_the_full_package_when_it_is_already_there() -> None:
    earlier = "import ccxt.async_support\n" + _LIGHT

    assert _run(earlier, "light is ccxt.async_support.bingx") is True
