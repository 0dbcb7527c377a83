"""`desk signals`: past alerts into a real store, signals out of a real API."""

# pyright: reportPrivateUsage=false

import csv
import json
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from desk.cli import signals as commands
from desk.cli.application import app
from desk.cli.client import Api
from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import BadInput
from desk.market.signals import parse, receive
from desk.settings import Settings
from desk.store import server, signals
from desk.store.kinds import signals_of
from desk.store.valkey import ValkeyStore
from tests.desk.market.test_signals import alert, iso
from tests.serve_apps.scene import Scene, make_scene
from tests.serving import served

NOW_MS = 1_800_000_000_000


class Terminal:
    """A home with a store that runs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = ValkeyStore(server.start(home).url)
        self.store.load_functions()

    def run(self, *words: str, **environment: str) -> Result:
        settings = {"DESK_HOME": str(self.home), "PORT": "1", "COLUMNS": "200", **environment}
        return CliRunner(env=settings).invoke(app, ["signals", *words])

    def imported(self, file: Path, *words: str, **environment: str) -> dict[str, Any]:
        answer = self.run("import", str(file), "--source", "main", "--json", *words, **environment)
        assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.output
        said = re.split("^(?=[{])", answer.stdout, maxsplit=1, flags=re.MULTILINE)[1]
        return {**json.loads(said), "exit": answer.exit_code}

    def kept(self) -> list[str]:
        return [doc.value.raw for doc in reversed(self.store.list(signals_of("main"), limit=6_000))]


@pytest.fixture(scope="module")
def opened() -> Iterator[Terminal]:
    home = Path(tempfile.mkdtemp(prefix="rd-"))
    terminal = Terminal(home)
    yield terminal
    terminal.store.close()
    running = server.find(home)
    if running is not None:
        server.stop(running)
    shutil.rmtree(home)


@pytest.fixture
def terminal(opened: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for doc in opened.store.list(signals_of("main"), limit=6_000):
        opened.store.delete(signals_of("main"), doc.key)
    monkeypatch.setattr(commands, "wall_ms", lambda: NOW_MS)
    return opened


def exported(path: Path, *rows: tuple[str, str]) -> Path:
    """A CSV as TradingView writes it: time and message of each alert."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Alert ID", "Ticker", "Name", "Description", "Time"])
        for number, (time, message) in enumerate(rows):
            writer.writerow([number, "BINANCE:BTCUSDT", "a, name", message, time])
    return path


def body(at_ms: int = NOW_MS, **fields: str) -> bytes:
    return alert(timenow=iso(at_ms), time=iso(at_ms - 60 * MINUTE_MS), **fields)


def test_an_export_is_kept_as_if_it_had_come_by_the_webhook_and_once(
    terminal: Terminal, tmp_path: Path
) -> None:
    live = receive("main", body(NOW_MS - DAY_MS), received_ms=NOW_MS - DAY_MS + 900)
    signals.append(terminal.store, live)
    file = exported(
        tmp_path / "alerts.csv",
        (iso(NOW_MS - DAY_MS), body(NOW_MS - DAY_MS).decode()),
        (iso(NOW_MS - 2 * DAY_MS), body(NOW_MS - 2 * DAY_MS).decode()),
        (iso(NOW_MS - 3 * DAY_MS), 'buy "now"\nor never'),
    )

    first = terminal.imported(file)
    again = terminal.imported(file)

    assert (first["new"], first["known"], first["set_aside"], first["exit"]) == (2, 1, 0, 0)
    assert (again["new"], again["known"], again["set_aside"], again["exit"]) == (0, 3, 0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.csv"]
    text, older, newest = (doc.value for doc in reversed(terminal.store.list(signals_of("main"))))
    assert (text.raw, text.ts_received_ms) == ('buy "now"\nor never', NOW_MS - 3 * DAY_MS)
    assert parse(older).parse_status.value == "ok"
    assert newest == live


def test_a_dry_run_says_the_same_and_writes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    rows = [(iso(NOW_MS - number * MINUTE_MS), f"buy {number % 3}") for number in (1, 2, 3, 3)]
    file = exported(tmp_path / "alerts.csv", *rows, ("yesterday", "sell"))

    dry = terminal.imported(file, "--dry-run")

    assert terminal.kept() == []
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.csv"]
    real = terminal.imported(file)
    for name in ("new", "known", "set_aside", "exit"):
        assert dry[name] == real[name], name
    assert (real["new"], real["known"], real["set_aside"]) == (3, 1, 1)


def test_rows_that_cannot_be_kept_are_set_aside_with_their_line_and_the_rest_goes_on(
    terminal: Terminal, tmp_path: Path
) -> None:
    lines = [
        body(NOW_MS - 1).replace(b"2027", b"2O27"),
        body(),
        b"no json",
        b"[1, 2]",
        b'{"time": "2027-01-14T00:00:00Z"}',
        b'{"message": "\xe9t\xe9", "time": "2027-01-14T00:00:00Z"}',
        body(NOW_MS + DAY_MS),
        body(NOW_MS - 40 * DAY_MS),
        b'{"message": "x", "time": 5e300}',
        b'{"pad": "' + b"x" * 80_000 + b'"}',
        b"",
        b'{"Message": "buy", "Time": "2027-01-14T00:00:00Z"}',
    ]
    file = tmp_path / "alerts.jsonl"
    file.write_bytes(b"\n".join(lines))

    answer = terminal.imported(file)

    assert (answer["new"], answer["set_aside"], answer["exit"]) == (2, 9, 1)
    aside = [
        json.loads(line)
        for line in (tmp_path / "alerts.jsonl.set-aside.jsonl").read_text().splitlines()
    ]
    assert [row["line"] for row in aside] == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert aside[1]["raw"] == "no json"
    assert aside[4]["raw"].encode("utf-8", "surrogateescape") == lines[5]
    problems = " ".join(row["problem"] for row in aside)
    for word in ("timenow", "JSON", "description", "UTF-8", "future", "31 days", "longer"):
        assert word in problems, word


@pytest.mark.parametrize(
    "text",
    [
        "Description,Time\nbuy,2027-01-14T00:00:00Z,more\n",
        'Description,Time\n"buy"x,2027-01-14T00:00:00Z\n',
        "Description,Time\nbuy,\n",
        "Description,Time\n ,2027-01-14T00:00:00Z\n",
        "Description,Time\n" + "x" * 20_000 + ",2027-01-14T00:00:00Z\n",
        "Description,Time\n" + "x" * 140_000 + ",2027-01-14T00:00:00Z\n",
        "Description,Time\n" + "x" * 66_000 + ",2027-01-14T00:00:00Z\n",
    ],
    ids=["cells", "quotes", "no time", "no message", "large", "huge", "long"],
)
def test_a_broken_row_of_a_csv_does_not_take_the_next_one_with_it(
    terminal: Terminal, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "alerts.csv"
    file.write_text(text + "sell,2027-01-14T00:01:00Z\n")
    answer = terminal.imported(file)
    assert (answer["set_aside"], terminal.kept()) == (1, ["sell"])
    aside = json.loads((tmp_path / "alerts.csv.set-aside.jsonl").read_text())
    assert aside["line"] == 2
    assert aside["raw"].strip() in text or json.loads(aside["raw"])


def test_no_secret_of_then_or_now_is_kept(terminal: Terminal, tmp_path: Path) -> None:
    now, then = body(NOW_MS - 1, secret="of-now"), body(NOW_MS - 2, secret="of-then", x="of-now")
    file = exported(
        tmp_path / "a.csv", (iso(NOW_MS - 1000), now.decode()), (iso(NOW_MS - 2000), then.decode())
    )
    live = receive("main", now, received_ms=NOW_MS, secret="of-now")
    signals.append(terminal.store, live)
    answer = terminal.imported(file, TRADINGVIEW_SECRET="of-now")
    assert (answer["new"], answer["known"]) == (1, 1)
    assert "of-now" not in str(terminal.kept())
    assert "of-then" not in str(terminal.kept())


def test_an_import_never_pushes_out_what_is_there(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MAX_KEPT", 3)
    signals.append(terminal.store, receive("main", b"live", received_ms=NOW_MS - 5 * DAY_MS))
    rows = [(iso(NOW_MS - number * MINUTE_MS), f"past {number}") for number in range(1, 5)]
    file = exported(tmp_path / "a.csv", *rows)
    dry, real = terminal.imported(file, "--dry-run"), terminal.imported(file)
    assert (dry["new"], dry["set_aside"]) == (real["new"], real["set_aside"]) == (2, 2)
    assert terminal.kept() == ["live", "past 2", "past 1"]


def test_ctrl_c_ends_an_import_that_the_same_command_goes_on_with(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(iso(NOW_MS - number * MINUTE_MS), f"past {number}") for number in range(20)]
    file = exported(tmp_path / "a.csv", *rows)
    real = commands.PastSignals.keep

    def keep(self: Any, receipt: Any) -> Any:
        if receipt.raw == "past 7":
            signal.raise_signal(signal.SIGINT)
        return real(self, receipt)

    monkeypatch.setattr(commands.PastSignals, "keep", keep)
    first = terminal.imported(file)
    monkeypatch.undo()
    monkeypatch.setattr(commands, "wall_ms", lambda: NOW_MS)
    again = terminal.imported(file)
    assert (first["cancelled"], first["new"], first["exit"]) == (True, 8, 1)
    assert (again["cancelled"], again["new"], again["known"], again["exit"]) == (False, 12, 8, 0)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "x", ("--source", "main")),
        ("absent.csv", None, ("--source", "main")),
        ("a.csv", "Name,Time\n", ("--source", "main")),
        ("a.csv", "Description,Name\n", ("--source", "main")),
        ("a.csv", "Description,Time\n", ("--source", "Not a name")),
        ("a.csv", "Description,Time\n", ("--source", "main", "--set-aside", "/nowhere/x")),
    ],
)
def test_a_wrong_file_or_name_is_refused(
    terminal: Terminal, tmp_path: Path, name: str, text: str | None, words: tuple[str, ...]
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    answer = terminal.run("import", str(file), *words)
    assert isinstance(answer.exception, BadInput), answer.output


# --- out of the API ------------------------------------------------------------------------------


@pytest.fixture
def scene() -> Scene:
    return make_scene()


def test_signals_are_searched_through_pages_and_shown_as_text_alone(
    scene: Scene, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[Api] = []

    def connected(settings: Settings) -> Api:
        clients.append(Api(settings))
        return clients[-1]

    monkeypatch.setattr(commands, "Api", connected)
    for number in range(205):
        said = b"[red]buy[/red] \x1b[31m%d" % number
        signals.append(scene.store, receive("main", said, received_ms=NOW_MS - number))
    with served(scene.app(token="t")) as url:
        where = {"PORT": url.rsplit(":", 1)[1], "API_TOKEN": "t"}
        found = terminal.run("search", "main", "-q", "BUY", "--limit", "203", "--json", **where)
        shown = terminal.run("search", "main", "--limit", "1", **where)
        asked = terminal.run("sync", **where)
        for client in clients:
            client._client.close()
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)) == 203
    assert "[red]buy[/red]" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert asked.exit_code == 0, asked.output
    [(command, said)] = scene.desk.heard
    assert (command, said["source"], said["wish"]) == ("turn_source", "tradingview", "run")
