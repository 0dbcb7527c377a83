"""`desk replay` and `desk explain`: the whole commands on a paper session in a store of its own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from desk.cli.application import WRONG_INPUT, app
from desk.clock import MINUTE_MS
from desk.runs import Action
from desk.store import server
from desk.store.valkey import ValkeyStore
from tests.actors.fakes import PAIR
from tests.actors.paper_session import Session
from tests.actors.stage import RUN_ID


class Terminal:
    """A home with a store that runs, and a session that traded in it."""

    def __init__(self, home: Path) -> None:
        self.store = ValkeyStore(server.start(home).url)
        self.store.load_functions()
        self.session = Session(home, self.store)
        self.session.go_on(15)
        self._environment = {"DESK_HOME": str(home)}

    def run(self, *words: str) -> Any:
        return CliRunner(env=self._environment).invoke(app, words)

    def told(self, *words: str, code: int = 0) -> Any:
        answer = self.run(*words, "--json")
        assert answer.exit_code == code, answer.output
        return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    import shutil
    import tempfile

    home = Path(tempfile.mkdtemp(prefix="rd-"))
    opened = Terminal(home)
    yield opened
    opened.store.close()
    running = server.find(home)
    if running is not None:
        server.stop(running)
    shutil.rmtree(home)


@pytest.fixture
def repainted(terminal: Terminal) -> Iterator[int]:
    """The newest decided candle closes elsewhere, for one test; its open time."""
    record = terminal.session.decisions()[0]
    stored = terminal.store.read_candles(PAIR, "1m", record.open_ms, record.open_ms + 1)
    changed = replace(stored, close=stored.close + 5.0)
    terminal.store.write_candles(PAIR, "1m", changed)
    yield record.open_ms
    terminal.store.write_candles(PAIR, "1m", stored)


def test_a_trace_is_replayed_identical_with_status_0(terminal: Terminal) -> None:
    record = terminal.session.decisions()[3]

    [found] = terminal.told("replay", record.trace_id)
    shown = terminal.run("replay", record.trace_id)

    assert (found["verdict"], found["open_ms"]) == ("identical", record.open_ms)
    assert found["recorded"] == found["recomputed"]
    assert shown.exit_code == 0
    assert "identical" in shown.output
    assert record.observation_sha256 in shown.output


def test_what_differs_is_told_with_status_1(terminal: Terminal, repainted: int) -> None:
    trace_id = terminal.session.decisions()[0].trace_id

    [found] = terminal.told("replay", trace_id, code=1)
    shown = terminal.run("replay", trace_id).output

    assert (found["verdict"], found["open_ms"]) == ("different", repainted)
    difference = found["first_difference"]
    assert difference["feature"] == "return_1"
    assert difference["recorded"] != difference["recomputed"]
    assert "first difference: return_1" in shown
    assert str(difference["recorded"]) in shown
    assert "replay_candles_changed" in shown


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "tr" + "a" * 22],
        ["replay"],
        ["replay", "tr" + "a" * 22, "--run", RUN_ID],
        ["replay", "tr" + "a" * 22, "--limit", "3"],
        ["replay", "--run", "run-nobody"],
        ["explain", "t1nothing"],
    ],
)
def test_what_is_not_there_is_wrong_input(terminal: Terminal, words: list[str]) -> None:
    answer = terminal.run(*words)

    assert answer.exit_code != 0
    assert isinstance(answer.exception, WRONG_INPUT)


def test_a_whole_run_is_replayed_and_counted(terminal: Terminal) -> None:
    answer = terminal.told("replay", "--run", RUN_ID)
    some = terminal.told("replay", "--run", RUN_ID, "--limit", "4")

    assert (answer["replayed"], answer["identical"]) == (15, 15)
    assert (answer["different"], answer["impossible"], answer["examples"]) == (0, 0, [])
    assert (some["replayed"], some["identical"]) == (4, 4)
    assert "15 identical" in terminal.run("replay", "--run", RUN_ID).output


def test_a_run_with_one_repaint_names_it_with_status_1(terminal: Terminal, repainted: int) -> None:
    answer = terminal.told("replay", "--run", RUN_ID, code=1)

    assert (answer["identical"], answer["different"]) == (14, 1)
    assert [one["open_ms"] for one in answer["examples"]] == [repainted]
    assert answer["findings"]["replay_features_differ"] == 1


def test_a_trade_is_explained_in_words_and_numbers(terminal: Terminal) -> None:
    entry = next(one for one in terminal.session.decisions()[::-1] if one.action is Action.TRADE)
    trade_id = entry.client_order_ids[-1]

    made = terminal.told("explain", trade_id)
    shown = terminal.run("explain", trade_id).output

    assert made["decisions"][0]["trace_id"] == entry.trace_id
    assert made["fills"][0]["filled_ms"] == entry.open_ms + MINUTE_MS + 1_000
    assert "with confidence" in shown
    assert "Result" in shown
    assert made["contributions_method"] == "occlusion"
