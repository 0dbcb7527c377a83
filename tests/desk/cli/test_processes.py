"""The book of started processes ends what it wrote down, and nothing else."""

import subprocess
import sys
from pathlib import Path

from desk.cli.processes import ProcessBook, Started, birth_of, is_alive


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )


def test_every_process_in_the_book_is_ended(tmp_path: Path) -> None:
    first, second = sleeper(), sleeper()
    book = ProcessBook(tmp_path)
    book.write_down("first", first.pid)
    book.write_down("second", second.pid)

    ended = book.end_all()

    assert ended == ["second", "first"]
    assert first.wait(5) != 0
    assert second.wait(5) != 0
    assert book.entries() == []


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('set', flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    book = ProcessBook(tmp_path)
    book.write_down("stubborn", stubborn.pid)

    book.end_all(patience_s=0.3)

    assert stubborn.wait(5) == -9
    stubborn.stdout.close()


def test_a_reused_pid_is_never_mistaken_for_ours(tmp_path: Path) -> None:
    stranger = sleeper()
    birth = birth_of(stranger.pid)
    assert birth is not None
    book = ProcessBook(tmp_path)
    book.write_down("ours", stranger.pid)
    reused = Started(name="ours", pid=stranger.pid, birth=birth - 1)
    book._save([reused])

    ended = book.end_all()

    assert ended == []
    assert stranger.poll() is None
    assert not is_alive(reused)
    stranger.kill()
    stranger.wait(5)


def test_an_unreadable_book_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "processes.json").write_text("{half")

    assert ProcessBook(tmp_path).end_all() == []
