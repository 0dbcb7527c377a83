"""`desk events`, `desk jobs follow`, exit codes and completion: what a terminal or a script meets."""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from desk.cli import client, progress
from desk.cli.application import app, main
from desk.cli.client import Api
from desk.runs import JobStatus
from desk.settings import load_settings
from desk.store import kinds
from desk.store.port import Event
from serve_apps.sse import StreamTimes
from tests.serve_apps.scene import NOW_MS, Scene, make_job, make_scene
from tests.serving import served

type Desk = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def scene() -> Scene:
    made = make_scene()
    made.store.put(kinds.JOBS, "job-1", make_job("job-1", NOW_MS), at_ms=NOW_MS)
    return made


@pytest.fixture(scope="module")
def port(scene: Scene) -> Iterator[int]:
    """An API whose event streams end after a second, so that a follower has to resume."""
    times = StreamTimes(ping_s=0.2, end_s=1.0, coalesce_s=0.05)
    with served(scene.app(stream_times=times)) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture
def desk(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    """Run a command line as the shell does: exit status, standard output and error."""
    opened: list[Any] = []
    make = client.httpx2.Client

    def noted(**options: Any) -> Any:
        opened.append(make(**options))
        return opened[-1]

    monkeypatch.setattr(client.httpx2, "Client", noted)
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    monkeypatch.setenv("PORT", str(port))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["desk", *words])
        capsys.readouterr()
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        return int(code), said.out, said.err

    yield run
    for each in opened:
        each.close()


def tell(scene: Scene, key: str, done: int) -> None:
    told = Event(topic="job", key=key, data={"done": done}, at_ms=NOW_MS)
    scene.store.put(kinds.JOBS, key, make_job(key, NOW_MS), at_ms=NOW_MS, event=told)


def test_a_follower_resumes_a_stream_that_ended_and_misses_nothing(
    scene: Scene, port: int, tmp_path: Path
) -> None:
    api = Api(load_settings({"DESK_HOME": str(tmp_path), "PORT": str(port)}))
    wanted = [f"job-{count}" for count in range(10, 16)]

    with contextlib.closing(api.events(topics="job")) as followed, telling(scene, "first"):
        assert next(followed)["key"] == "first"
        teller = threading.Thread(target=tell_slowly, args=(scene, wanted))
        teller.start()
        keys = list(
            itertools.islice((event["key"] for event in followed if event["key"] != "first"), 6)
        )
    teller.join(10)
    api.close()

    assert keys == wanted


def tell_slowly(scene: Scene, keys: list[str]) -> None:
    """Over more than two lives of a stream."""
    pause = threading.Event()
    for key in keys:
        pause.wait(0.5)
        tell(scene, key, 1)


@contextlib.contextmanager
def telling(scene: Scene, key: str) -> Iterator[None]:
    """Tell of a job again and again, so that whoever begins to listen hears of it."""
    enough = threading.Event()

    def again() -> None:
        while not enough.wait(0.1):
            tell(scene, key, 7)

    teller = threading.Thread(target=again)
    teller.start()
    yield
    enough.set()
    teller.join(10)


def test_an_event_is_one_line_of_json_for_a_script(scene: Scene, desk: Desk) -> None:
    with telling(scene, "job-1"):
        code, out, _ = desk("events", "--topics", "job", "--count", "1", "--json")

    event = json.loads(out)
    assert (code, event["event"], event["key"]) == (0, "job", "job-1")
    assert event["data"] == {"done": 7}


def test_ctrl_c_leaves_a_followed_job_running_and_says_how_to_come_back(
    scene: Scene, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.time, "sleep", interrupted)

    code, out, said = desk("jobs", "follow", "job-1")

    job = scene.store.get(kinds.JOBS, "job-1")
    assert job is not None
    assert job.value.status.value == "running"
    assert code == 1
    assert "`desk jobs follow job-1` comes back to it" in said
    assert "`desk jobs cancel job-1` ends it" in said
    assert "\x1b" not in out + said


def test_a_job_that_is_followed_for_a_script_shows_no_bar(scene: Scene, desk: Desk) -> None:
    ended = make_job("job-9", NOW_MS, status=JobStatus.DONE, done=100, detail="100 candles")
    scene.store.put(kinds.JOBS, "job-9", ended, at_ms=NOW_MS)

    code, out, said = desk("jobs", "follow", "job-9", "--json")

    assert (code, said) == (0, "")
    assert json.loads(out)["status"] == "done"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("agent", "show"), 0, ""),
        (("agent", "show", "--agent", "nobody"), 2, "nobody"),
        (("agent", "set", "--min-confidence", "7"), 2, "min_confidence"),
        (("agent", "set", "--min-confidence", "0.5", "--version", "99"), 1, "version"),
        (("jobs", "cancel", "no-such-job"), 2, "no-such-job"),
        (("market", "candles", "BTC-USDT", "--start", "yesterday"), 2, "--start"),
        (("trade", "close"), 2, "trade_id"),
        (("trade", "close", "x", "--nonsense"), 2, "--nonsense"),
        (("no-such-command",), 2, "no-such-command"),
    ],
)
def test_the_exit_code_says_whether_it_was_done_refused_or_asked_wrongly(
    desk: Desk, words: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, told = desk(*words)

    assert ended == code, told
    assert said in told
    assert "\x1b" not in out + told
    assert "Traceback" not in told
    assert (out == "") == bool(code)


def test_where_no_desk_answers_the_code_is_1_and_the_remedy_is_named(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "9")

    code, out, said = desk("agent", "show", "--json")

    assert (code, out) == (1, "")
    assert "`desk up`" in said


@pytest.mark.parametrize(
    ("words", "offered"),
    [("desk tra", "trades"), ("desk trade ", "close"), ("desk trade close x --qu", "--quantity")],
)
def test_the_shell_is_told_how_to_complete_a_line(words: str, offered: str) -> None:
    asking = {
        "_DESK_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }

    answer = CliRunner().invoke(app, [], env=asking, prog_name="desk")

    assert offered in answer.stdout.split()


def test_the_completion_of_a_shell_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")

    answer = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="desk")

    assert answer.exit_code == 0
    assert "_DESK_COMPLETE=complete_bash" in answer.stdout
