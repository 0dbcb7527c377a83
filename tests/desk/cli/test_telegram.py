"""`desk telegram login` as a person sees it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from desk.cli import telegram
from desk.cli.application import app
from desk.errors import FeedError, SettingsError
from desk.sources.telegram import TelegramAccess, session_problem
from tests.telegram_login_double import TelegramLogInDouble


@contextmanager
def running(double: TelegramLogInDouble) -> Iterator[TelegramAccess]:
    """The double on a loop of its own: the command's loop stands still while it asks."""
    is_up, is_done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with double:
            is_up.set()
            await asyncio.to_thread(is_done.wait, 60)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert is_up.wait(20)
        yield TelegramAccess(
            api_id=1, api_hash=SecretStr("hash"), session=SecretStr(double.session)
        )
    finally:
        is_done.set()
        thread.join(20)


def test_a_log_in_asks_for_phone_code_and_password_and_again_for_a_wrong_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = ["+491607654321", "99999", "12345", "wrong", "right"]
    asked: list[str] = []

    def answer(question: str, *, is_hidden: bool = False) -> str:
        asked.append(question.split(maxsplit=1)[0])
        assert is_hidden is (asked[-1] != "Phone")
        return answers.pop(0)

    monkeypatch.setattr(telegram, "_asked", answer)
    with running(TelegramLogInDouble(password="right")) as access:
        session = telegram.converse(access)

    assert asked == ["Phone", "Code", "Code", "Password", "Password"]
    assert session_problem(session.get_secret_value()) is None


def test_wrong_codes_end_the_log_in_after_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(question: str, *, is_hidden: bool = False) -> str:
        return "99999" if is_hidden else "+491607654321"

    monkeypatch.setattr(telegram, "_asked", answer)
    with running(TelegramLogInDouble()) as access, pytest.raises(FeedError, match="3 wrong"):
        telegram.converse(access)


@pytest.mark.catalogue("S07")
def test_S07_the_session_is_printed_once_with_a_warning_that_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELEGRAM_API_ID", "1")
    monkeypatch.setenv("TELEGRAM_API_HASH", "hash")
    monkeypatch.setattr(telegram, "converse", lambda _: SecretStr("canary-session"))

    said = CliRunner().invoke(app, ["telegram", "login"])

    assert said.stdout == "canary-session\n"
    assert "FULL ACCESS" in said.stderr
    assert "canary" not in said.stderr


def test_a_log_in_without_an_app_says_where_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEGRAM_API_ID", raising=False)
    monkeypatch.delenv("TELEGRAM_API_HASH", raising=False)

    said = CliRunner().invoke(app, ["telegram", "login"])

    assert isinstance(said.exception, SettingsError)
    assert "my.telegram.org" in str(said.exception)
