"""Steps of other people's trading environments; runs alone, in an environment of its own.

Their pins clash with the desk's, so `bench.env` starts this file with `uv run --with`; nothing of it
is shipped. Arguments: the peer's name, an `.npz` of candles and features, steps per round. Prints one
line when ready; then, for every line read, one JSON line: steps, CPU and wall seconds of a round.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd

WINDOW = 30


def main(name: str, path: str, steps: int) -> None:
    warnings.simplefilter("ignore")
    environment = _anytrading(path) if name == "gym-anytrading" else _trading_env(path)
    actions = np.random.default_rng(5).integers(0, environment.action_space.n, steps).tolist()
    _round(environment, actions[:200])
    sys.stdout.write(json.dumps({"version": version(name)}) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(_round(environment, actions)) + "\n")
        sys.stdout.flush()


def _round(environment, actions: list[int]) -> dict[str, float]:
    environment.reset(seed=1)
    began, wall = time.process_time(), time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = environment.step(action)
        if terminated or truncated:
            environment.reset()
    cpu = time.process_time() - began
    return {"steps": len(actions), "cpu_s": cpu, "wall_s": time.perf_counter() - wall}


def _anytrading(path: str):
    from gym_anytrading.envs import StocksEnv  # noqa: PLC0415 # pyright: ignore

    frame = _frame(path).rename(columns=str.capitalize)
    return StocksEnv(df=frame, window_size=WINDOW, frame_bound=(WINDOW, len(frame)))


def _trading_env(path: str):
    from gym_trading_env.environments import TradingEnv  # noqa: PLC0415 # pyright: ignore

    frame, features = _frame(path), np.load(path)["features"]
    named = {f"feature_{n}": features[:, n] for n in range(features.shape[1])}
    return TradingEnv(
        df=pd.concat([frame, pd.DataFrame(named, index=frame.index)], axis=1),
        positions=[-1, 0, 1],
        trading_fees=0.0005,
        borrow_interest_rate=0.0001 / 480,
        max_episode_duration=1_440,
        verbose=0,
    )


def _frame(path: str) -> pd.DataFrame:
    loaded = np.load(path)
    index = pd.DatetimeIndex(loaded["open_ms"].astype("datetime64[ms]").astype("datetime64[ns]"))
    return pd.DataFrame(
        {name: loaded[name] for name in ("open", "high", "low", "close", "volume")}, index=index
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
