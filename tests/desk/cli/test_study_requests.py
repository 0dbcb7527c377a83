"""`desk train` and `desk evaluate` say what is wrong by the option, before Ray and RLlib are started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from desk.cli import learning
from desk.cli.application import app
from desk.errors import BadInput
from desk.market.candles import Candles
from desk.store.history import History


@pytest.fixture
def run(
    home: Path, walk: Callable[..., Candles], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """The command over 2,000 stored candles; starting Ray fails the test."""
    History(home / "history").append("BTC-USDT", "1m", walk(2_000), "test")

    def started() -> None:
        pytest.fail("Ray was started for input that is wrong")

    monkeypatch.setattr(learning, "private_ray", started)

    def invoke(*words: str) -> BaseException | None:
        tick = () if "--tick" in words else ("--tick", "0.1")
        return CliRunner(env={"DESK_HOME": str(home)}).invoke(app, [*words, *tick]).exception

    return invoke


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--levels", ("train", "--levels", "1,0")),
        ("--levels", ("train", "--levels", "-1,0,0.0001")),
        ("--stop-loss", ("train", "--stop-loss", "1.5")),
        ("--leverage", ("train", "--leverage", "999")),
        ("--start", ("train", "--end", "2023-11-14T22:20:00Z")),
        ("--tick", ("train", "--tick", "7")),
        ("--take-profit", ("evaluate", "baseline-trend-v1", "--take-profit", "3")),
        ("--leverage", ("evaluate", "baseline-trend-v1", "--leverage", "999")),
        ("--start", ("evaluate", "baseline-trend-v1", "--end", "2023-11-14T22:20:00Z")),
    ],
)
def test_wrong_input_is_named_by_its_option(
    run: Callable[..., Any], option: str, words: tuple[str, ...]
) -> None:
    wrong = run(*words)

    assert isinstance(wrong, BadInput), wrong
    assert wrong.field == option
