"""What ArcticDB takes for the same candles; runs alone, in an environment of its own.

ArcticDB 6.28 needs older pandas and protobuf than the desk, so `bench.peers` starts this file with
`uv run --with arcticdb`; nothing of it is shipped.
Arguments: an `.npz` of the candles, rounds. Prints one JSON object: milliseconds by name.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable

import arcticdb  # pyright: ignore[reportMissingImports] - in an environment of its own
import numpy as np
import pandas as pd

LAST = 500


def main(path: str, rounds: int) -> None:
    loaded = np.load(path)
    year = _frame({name: loaded[name] for name in loaded.files if name != "three_years"})
    three = pd.DataFrame({"x": 0.0}, index=_index(loaded["three_years"]))
    with tempfile.TemporaryDirectory() as folder:
        library = arcticdb.Arctic(f"lmdb://{folder}?map_size=2GB").create_library("candles")
        library.write("year", year)
        library.write("three", three)
        newest, step = year.index[-1], pd.Timedelta(minutes=1)
        count = iter(range(1, 10**6))

        def upsert() -> None:
            row = year.iloc[-1:].set_axis([newest + next(count) * step])
            library.update("year", row, prune_previous_versions=True)

        def scan() -> int:
            at = library.read("three", columns=[]).data.index.to_numpy()
            return len(np.flatnonzero(np.diff(at) > np.timedelta64(1, "m")))

        figures = {
            "year": _times(lambda: library.read("year").data, rounds),
            "last": _times(lambda: library.tail("year", LAST).data, 20 * rounds),
            "gaps": _times(scan, rounds),
            "upsert": _times(upsert, 20 * rounds),
        }
    print(json.dumps({"version": arcticdb.__version__, "ms": figures}))


def _index(open_ms: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(open_ms.astype("datetime64[ms]").astype("datetime64[ns]"))


def _frame(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=_index(columns.pop("open_ms")))


def _times(call: Callable[[], object], rounds: int) -> list[float]:
    call()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
