"""A log-in with the unmodified Telethon client at our own Telegram."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pytest
from pydantic import SecretStr

from desk.errors import BadInput, FeedError, FeedThrottled, SettingsError
from desk.sources import telegram
from desk.sources.telegram import TelegramAccess, TelegramChannels, session_problem
from desk.sources.telegram_login import TelegramLogIn, WrongSecret
from tests.telegram_login_double import TelegramLogInDouble

PHONE = "+49 160 7654321"

type Act = Callable[[TelegramLogInDouble, TelegramLogIn], Awaitable[None]]


def access(session: str) -> TelegramAccess:
    return TelegramAccess(api_id=1, api_hash=SecretStr("canary-hash"), session=SecretStr(session))


def play(act: Act, *, password: str = "") -> TelegramLogInDouble:
    async def run() -> TelegramLogInDouble:
        async with TelegramLogInDouble(password=password) as double:
            # A session whose key is shared already stands for the key exchange.
            log_in = TelegramLogIn(access(double.session))
            try:
                await act(double, log_in)
            finally:
                await log_in.close()
            return double

    return asyncio.run(run())


@pytest.mark.parametrize("password", ["", "canary-password"])
def test_code_and_password_make_a_session_that_reads_channels(password: str) -> None:
    async def act(double: TelegramLogInDouble, log_in: TelegramLogIn) -> None:
        await log_in.send_code(PHONE)
        is_in = await log_in.sign_in(PHONE, double.code)
        assert is_in is (password == "")
        if not is_in:
            await log_in.give_password(password)
        session = log_in.session()
        assert "canary" not in f"{session!r} {log_in!r} {vars(log_in)}"
        assert session_problem(session.get_secret_value()) is None
        await log_in.close()

        double.post("buy btc")
        channels = TelegramChannels(access(session.get_secret_value()))
        assert [row.text for row in await channels.newest("calls", 5)] == ["buy btc"]
        await channels.close()

    play(act, password=password)


def test_a_wrong_code_or_password_may_be_given_again() -> None:
    async def act(double: TelegramLogInDouble, log_in: TelegramLogIn) -> None:
        await log_in.send_code(PHONE)
        with pytest.raises(WrongSecret, match="code"):
            await log_in.sign_in(PHONE, "99999")
        assert not await log_in.sign_in(PHONE, double.code)
        with pytest.raises(WrongSecret, match="password") as wrong:
            await log_in.give_password("canary-wrong")
        assert "canary" not in str(wrong.value)
        await log_in.give_password("right")
        assert double.is_known

    play(act, password="right")


def test_a_connection_that_was_lost_while_the_person_looked_for_the_code_is_made_again() -> None:
    async def act(double: TelegramLogInDouble, log_in: TelegramLogIn) -> None:
        await log_in.send_code(PHONE)
        double.drop()
        await asyncio.sleep(0.1)
        assert await log_in.sign_in(PHONE, double.code)

    assert play(act).heard.count("SendCode") == 1


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        ("PHONE_NUMBER_INVALID", BadInput, "phone"),
        ("API_ID_INVALID", SettingsError, "TELEGRAM_API_ID"),
        ("FLOOD_WAIT_900", FeedThrottled, "900"),
        ("PHONE_NUMBER_BANNED", FeedError, "PhoneNumberBannedError"),
        ("drop", FeedError, "again"),
        ("silence", FeedError, "again"),
    ],
)
def test_what_telegram_refuses_is_told_with_the_remedy(
    failure: str, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(double: TelegramLogInDouble, log_in: TelegramLogIn) -> None:
        double.failures["SendCode"] = deque([failure])
        if failure == "silence":
            monkeypatch.setattr(telegram, "CONNECT_TIMEOUT_S", 0.5)
        with pytest.raises(error, match=said) as refused:
            await log_in.send_code(PHONE)
        assert "7654321" not in str(refused.value)

    play(act)
