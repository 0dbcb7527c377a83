"""`desk telegram login`: a session for `TELEGRAM_SESSION`, printed once and kept nowhere."""

import asyncio
import sys
from collections.abc import Callable

import typer
from pydantic import SecretStr

from desk.errors import FeedError, SettingsError
from desk.settings import load_settings
from desk.sources.telegram import TelegramAccess
from desk.sources.telegram_login import TelegramLogIn, WrongSecret

app = typer.Typer(no_args_is_help=True, help="The account that reads Telegram channels.")

MOST_TRIES = 3
"""Of a code or password; Telegram bounds them too."""
WARNING = (
    "The next line is FULL ACCESS to the Telegram account: it reads and writes everything, without"
    " a code.\nKeep it as a secret, set it as TELEGRAM_SESSION, and end it in Telegram under"
    " Settings, Devices if it gets known.\n"
)


@app.callback()
def _telegram() -> None:
    """Keeps `login` a command of its own."""


@app.command()
def login() -> None:
    """Log in with phone, code and password, and print the session once: it is full access."""
    settings = load_settings()
    if settings.telegram_api_id is None or settings.telegram_api_hash is None:
        raise SettingsError(
            "TELEGRAM_API_ID and TELEGRAM_API_HASH were not set, expected both: make an app at"
            " my.telegram.org"
        )
    access = TelegramAccess(
        api_id=settings.telegram_api_id,
        api_hash=settings.telegram_api_hash,
        session=SecretStr(""),
    )
    session = converse(access)
    sys.stderr.write(WARNING)
    sys.stdout.write(session.get_secret_value() + "\n")


def converse(access: TelegramAccess) -> SecretStr:
    """Ask what Telegram wants to know, at standard error, and return the new session.

    Questions are asked while the event loop stands still, so that Ctrl-C ends them.
    """
    with asyncio.Runner() as runner:
        log_in = _started(runner, access)
        try:
            phone = _asked("Phone number with country code")
            runner.run(log_in.send_code(phone))
            is_in = _tried(
                "Code from Telegram", lambda code: runner.run(log_in.sign_in(phone, code))
            )
            if not is_in:
                _tried(
                    "Password of two-step verification",
                    lambda password: runner.run(log_in.give_password(password)),
                )
            return log_in.session()
        finally:
            runner.run(log_in.close())


def _started(runner: asyncio.Runner, access: TelegramAccess) -> TelegramLogIn:
    async def start() -> TelegramLogIn:
        return TelegramLogIn(access)

    return runner.run(start())


def _tried[R](question: str, give: Callable[[str], R]) -> R:
    """Ask and give until it is right, a few times."""
    for _ in range(MOST_TRIES):
        answer = _asked(question, is_hidden=True)
        try:
            return give(answer)
        except WrongSecret as wrong:
            sys.stderr.write(f"desk: {wrong}\n")
    raise FeedError(f"{MOST_TRIES} wrong answers: start `desk telegram login` again")


def _asked(question: str, *, is_hidden: bool = False) -> str:
    answer: str = typer.prompt(question, hide_input=is_hidden, err=True)
    return answer.strip()
