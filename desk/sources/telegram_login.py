"""Makes a session of Telegram, step by step with the person whose account it is. Keeps nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import SecretStr
from telethon import errors

from desk.errors import BadInput, FeedError, FeedThrottled, SettingsError
from desk.sources import telegram
from desk.sources.telegram import TelegramAccess, new_client
from desk.sources.telegram_line import Line

# Telethon is untyped: its objects stay inside this file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

START_AGAIN = "start `desk telegram login` again"


class WrongSecret(BadInput):
    """The code or password is not right; another may be tried."""


class TelegramLogIn:
    """One log-in. Every step is bounded by `CONNECT_TIMEOUT_S` and connects where the wait for the
    person cost the connection. Raises `BadInput`, `SettingsError` for the app's id and hash, and
    `FeedError`, `FeedThrottled` as `TelegramChannels` does; no error tells a secret."""

    def __init__(self, access: TelegramAccess) -> None:
        self._client: Any = new_client(access)
        self._line = Line(self._client, lambda _: None)

    async def send_code(self, phone: str) -> None:
        """Have Telegram send a code to the account's other devices, or by SMS."""
        await self._step(lambda: self._client.send_code_request(phone))

    async def sign_in(self, phone: str, code: str) -> bool:
        """Give the code; False if the account also has a password. Raises `WrongSecret`."""
        try:
            await self._step(lambda: self._client.sign_in(phone, code))
        except errors.SessionPasswordNeededError:
            return False
        return True

    async def give_password(self, password: str) -> None:
        """Give the password of two-step verification. Raises `WrongSecret`."""
        await self._step(lambda: self._client.sign_in(password=password))

    def session(self) -> SecretStr:
        """The text for `TELEGRAM_SESSION`, once signed in."""
        return SecretStr(self._client.session.save())

    async def close(self) -> None:
        """Leave Telegram; the session stays valid."""
        await self._line.leave()

    async def _step(self, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await self._line.run(self._connected_do(work), telegram.CONNECT_TIMEOUT_S)
        except errors.SessionPasswordNeededError:
            raise
        except errors.FloodWaitError as flood:
            raise FeedThrottled(telegram.NAME, int(flood.seconds)) from None
        except (errors.PhoneNumberInvalidError, errors.PhoneNumberUnoccupiedError, TypeError):
            # TypeError: Telethon found no digits in it.
            raise BadInput(
                "phone", "was not the number of an account, expected it like +4915112345678"
            ) from None
        except (errors.PhoneCodeInvalidError, errors.PhoneCodeEmptyError):
            raise WrongSecret("code", "was not the one that Telegram sent") from None
        except errors.PasswordHashInvalidError:
            raise WrongSecret("password", "was not the account's") from None
        except (errors.ApiIdInvalidError, errors.ApiIdPublishedFloodError):
            raise SettingsError(
                "TELEGRAM_API_ID and TELEGRAM_API_HASH are not those of an app: see my.telegram.org"
            ) from None
        except (errors.RPCError, ValueError, RuntimeError) as wrong:
            raise FeedError(f"Telegram refused ({type(wrong).__name__}): {START_AGAIN}") from None
        except (OSError, TimeoutError, EOFError) as lost:
            raise FeedError(f"Telegram is away ({type(lost).__name__}): {START_AGAIN}") from None

    async def _connected_do(self, work: Callable[[], Awaitable[Any]]) -> None:
        if not self._client.is_connected():
            await self._client.connect()
        await work()
