"""`desk features`: the whole command on a store of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from desk.cli.application import WRONG_INPUT, app
from desk.market.features import FEATURES_V1
from desk.store import kinds, server
from desk.store.valkey import ValkeyStore


class Terminal:
    """A home with a store that runs and one configured feed."""

    def __init__(self, home: Path) -> None:
        self.store = ValkeyStore(server.start(home).url)
        self.store.load_functions()
        self._environment = {
            "DESK_HOME": str(home),
            "TRADINGVIEW_FEED_TOKENS": "calls=" + "x" * 40,
        }

    def run(self, *words: str) -> Any:
        return CliRunner(env=self._environment).invoke(app, ["features", *words])

    def told(self, *words: str) -> Any:
        answer = self.run(*words, "--json")
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    opened = Terminal(home)
    yield opened
    opened.store.close()


def test_a_set_is_created_once_listed_and_shown(terminal: Terminal) -> None:
    words = ("create", "mine", "--column", "trend:5,20", "--column", "day_sine")
    made = terminal.told(*words, "--signal", "calls=30")
    again = terminal.told(*words, "--signal", "calls=30")

    assert made == again == terminal.told("show", made["feature_set_id"])
    assert made["columns"] == ["trend_5_20", "day_sine", "signal_side:calls", "signal_age:calls"]
    assert [row["feature_set_id"] for row in terminal.told("list")] == [
        FEATURES_V1.feature_set_id,
        made["feature_set_id"],
    ]
    assert [doc.value.actor for doc in terminal.store.list(kinds.AUDIT)] == ["cli"]
    assert "signal_age:calls" in terminal.run("show", made["feature_set_id"]).output


def test_without_columns_the_built_in_ones_are_taken(terminal: Terminal) -> None:
    made = terminal.told("create", "said", "--signal", "calls=30")

    assert made["columns"][: FEATURES_V1.size] == list(FEATURES_V1.names)
    assert made["lookback"] == FEATURES_V1.lookback


def test_columns_of_funding_stand_last(terminal: Terminal) -> None:
    words = ("--funding", "funding_rate", "--funding", "funding_mean:21")
    made = terminal.told("create", "paid", "--column", "day_sine", "--signal", "calls=30", *words)
    older = terminal.told(
        "create", "paid", "--column", "day_sine", *words, "--funding-max-age", "600"
    )

    assert made["columns"][-2:] == ["funding_rate", "funding_mean_21"]
    assert made["sources"] == ["calls", "bingx:funding"]
    assert older["funding"]["max_age_min"] == 600
    assert "funding_mean_21" in terminal.run("show", made["feature_set_id"]).output
    wrong = terminal.run("create", "x", "--funding", "funding_mean:a").exception
    assert isinstance(wrong, WRONG_INPUT)


def test_indicators_are_made_with_their_anchor(terminal: Terminal) -> None:
    made = terminal.told(
        "create",
        "moving",
        *("--column", "rsi:14", "--column", "macd:12,26,9,14@5", "--anchor", "1440,200,3"),
    )

    assert made["columns"] == ["rsi_14", "macd_12_26_9_14_of5"]
    assert made["anchor"] == {"every": 1_440, "warm_up": 200, "most_filled": 3}
    assert made["lookback"] == 1_840
    shown = terminal.run("show", made["feature_set_id"]).output
    assert "12 26 9 14 of 5" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("--column", "rsi:14"),
        ("--column", "rsi:14@x", "--anchor", "1440,200,3"),
        ("--column", "rsi:14", "--anchor", "1440,200"),
        ("--column", "rsi:14", "--anchor", "1440,-1,3"),
        ("--column", "rsi:14", "--anchor", "1440,5,3"),
        ("--column", "trend:5,x"),
        ("--column", "trend:20,5"),
        ("--column", "nothing:5"),
        ("--signal", "calls"),
        ("--signal", "calls=0"),
        ("--signal", "other=5"),
    ],
)
def test_what_cannot_be_computed_is_refused_and_leaves_nothing(
    terminal: Terminal, words: tuple[str, str]
) -> None:
    answer = terminal.run("create", "mine", *words)

    assert isinstance(answer.exception, WRONG_INPUT)
    assert terminal.store.list(kinds.FEATURE_SETS) == []
