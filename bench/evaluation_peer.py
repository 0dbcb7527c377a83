"""What vectorbt and backtesting.py take for the same signals; runs alone, in an environment of its own.

vectorbt 1.0 needs plotly below 6, so `bench.evaluation` starts this file with `uv run --with …`;
nothing of it is shipped. Argument: an `.npz` of open, high, low, close float64[T] and `long`
bool[T, C]. Reads names of peers, one a line, runs each once and answers one JSON object a line.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

FEE = 0.0005
CASH = 1e9


def main(path: str) -> None:
    warnings.simplefilter("ignore")
    tape = {name: column for name, column in np.load(path).items()}
    peers: dict[str, Callable[[dict[str, np.ndarray]], int]] = {
        "vectorbt": _vectorbt,
        "backtesting.py": _backtesting,
    }
    for line in sys.stdin:
        name, _, rows = line.strip().partition(" ")
        part = {key: column[: int(rows)] for key, column in tape.items()}
        wall, cpu = time.perf_counter(), time.process_time()
        trades = peers[name](part)
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        sys.stdout.write(json.dumps(spent | {"trades": trades}) + "\n")
        sys.stdout.flush()


def _vectorbt(tape: dict[str, np.ndarray]) -> int:
    """Fills at the next open, as many accounts as there are columns; the trades of all."""
    import vectorbt  # pyright: ignore[reportMissingImports] # noqa: PLC0415 - a peer

    long = tape["long"]
    before = np.vstack([np.zeros_like(long[:1]), long[:-1]])
    following = np.append(tape["open"][1:], tape["close"][-1])
    book = vectorbt.Portfolio.from_signals(
        tape["close"][:, None],
        long & ~before,
        ~long & before,
        price=following[:, None],
        size=1.0,
        fees=FEE,
        init_cash=CASH,
        freq="1min",
    )
    return int(np.sum(book.trades.count()))


def _backtesting(tape: dict[str, np.ndarray]) -> int:
    from backtesting import (  # pyright: ignore[reportMissingImports] # noqa: PLC0415 - a peer
        Backtest,
        Strategy,
    )

    wanted = tape["long"][:, 0]

    class Follow(Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            row = len(self.data) - 1
            if wanted[row] and not self.position:
                self.buy(size=1)
            elif not wanted[row] and self.position:
                self.position.close()

    index = pd.date_range("2024-01-01", periods=len(wanted), freq="min")
    columns = {name.title(): tape[name] for name in ("open", "high", "low", "close")}
    frame = pd.DataFrame(columns | {"Volume": 1.0}, index=index)
    done = Backtest(frame, Follow, cash=CASH, commission=FEE, finalize_trades=True).run()
    return int(done["# Trades"])


if __name__ == "__main__":
    main(sys.argv[1])
