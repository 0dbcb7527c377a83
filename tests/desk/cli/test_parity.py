"""`desk parity`: the whole command, with no cluster and no server but the store it starts itself."""

import json
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from desk.cli.application import app
from desk.clock import HOUR_MS
from desk.errors import BadInput, NotFound
from desk.evaluation.cases import INSTRUMENT
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.store import kinds, server
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets
from desk.store.history import History
from desk.store.valkey import ValkeyStore
from desk.trading import fills
from desk.venues.port import FundingRate

PAIR = "BTC-USDT"


def run(home: Path, *words: str) -> Result:
    return CliRunner(env={"DESK_HOME": str(home)}).invoke(app, ["parity", *words])


def told(answer: Result) -> Any:
    return json.loads(re.split("^(?=[{[])", answer.stdout, maxsplit=1, flags=re.MULTILINE)[1])


def test_generated_cases_agree_and_need_nothing_that_runs(tmp_path: Path) -> None:
    answer = run(tmp_path, "--cases", "3", "--json")

    assert answer.exit_code == 0, answer.output
    rows = told(answer)
    assert rows["holds"]
    assert [row["engine"] for row in rows["engines"]] == ["kernel", "nautilus", "paper venue"]
    assert all(row["cases"] == 3 and row["fills"] > 20 for row in rows["engines"])
    assert not list(tmp_path.iterdir())


def test_a_rule_that_differs_breaks_a_bound_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_up(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
        return (quantity * price * rate).quantize(Decimal("1e-8"), ROUND_HALF_UP)

    # The engine has taken its rule when it is imported: only the reference is to differ from it.
    import_module("desk.engines.nautilus")
    monkeypatch.setattr(fills, "commission", half_up)

    answer = run(tmp_path, "--cases", "3", "--json")

    assert answer.exit_code == 1
    broken = {row["engine"]: row for row in told(answer)["engines"]}["nautilus"]
    assert broken["mismatching_fills"] > 0
    assert "case 0: fill" in broken["first_mismatch"]
    assert run(tmp_path, "--cases", "3").exit_code == 1


def test_a_datasets_candles_are_replayed_with_the_stored_funding(
    home: Path, walk: Callable[..., Candles]
) -> None:
    store = ValkeyStore(server.start(home).url)
    store.load_functions()
    candles = walk(1_200)
    first_ms, last_ms = int(candles.open_ms[0]), int(candles.open_ms[-1])
    store.write_candles(PAIR, "1m", candles)
    store.put(kinds.INSTRUMENTS, PAIR, INSTRUMENT, at_ms=0)
    due_ms = -(-(first_ms + 5 * HOUR_MS) // (8 * HOUR_MS)) * 8 * HOUR_MS
    rate = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal("0.0003"))
    store.put(kinds.funding_rates(PAIR), str(due_ms), rate, at_ms=due_ms)
    history = History(home / "history")
    archive = CandleArchive(store, history, CandleCache(home / "cache", history))
    ask = DatasetAsk(
        pair=PAIR,
        interval="1m",
        start_ms=first_ms + 5 * HOUR_MS,
        end_ms=last_ms,
        features=FEATURES_V1,
    )
    made = Datasets(home / "datasets", store, archive).build(ask, now_ms=last_ms)
    store.close()

    answer = run(home, "--dataset", made.dataset_id, "--cases", "0", "--json")

    assert answer.exit_code == 0, answer.output
    rows = told(answer)["engines"]
    assert len(rows) == 3
    assert all(row["candles"] > 850 and row["fills"] > 20 for row in rows)
    assert any(row["funding_amounts"] == 1 for row in rows)


def test_input_that_compares_nothing_is_refused(home: Path) -> None:
    nothing = run(home, "--cases", "0")
    unknown = run(home, "--dataset", "ds-none")

    assert isinstance(nothing.exception, BadInput)
    assert "--dataset" in str(nothing.exception)
    assert isinstance(unknown.exception, NotFound)
