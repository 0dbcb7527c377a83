"""Our own Telegram with the methods of a log-in: code, and password by SRP."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false

import os
from typing import Any

from telethon import password as srp
from telethon.tl import types

from tests.telegram_double import TelegramDouble

PRIME = bytes(
    next(
        part
        for part in srp.check_prime_and_good.__code__.co_consts
        if isinstance(part, tuple) and len(part) == srp.SIZE_FOR_HASH
    )
)
"""The one that Telegram uses and the client knows: any other takes it seconds to check."""
G = 3


class TelegramLogInDouble(TelegramDouble):
    """Knows nobody until the code, and the password where there is one, were given."""

    def __init__(self, *, password: str = "") -> None:
        super().__init__()
        self.is_known = False
        self.code, self.password = "12345", password
        self._b = int.from_bytes(os.urandom(256))
        self._algo = types.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
            salt1=b"one", salt2=b"two", g=G, p=PRIME
        )

    def _answer(self, name: str, asked: Any) -> bytes:  # noqa: PLR0911 - one line a method
        match name:
            case "SendCode":
                kind: Any = types.auth.SentCodeTypeApp(length=5)
                return bytes(types.auth.SentCode(type=kind, phone_code_hash="hash"))
            case "SignIn" if asked.phone_code != self.code:
                return bytes(types.RpcError(400, "PHONE_CODE_INVALID"))
            case "SignIn" if self.password:
                return bytes(types.RpcError(401, "SESSION_PASSWORD_NEEDED"))
            case "GetPassword":
                return bytes(
                    types.account.Password(
                        new_algo=types.PasswordKdfAlgoUnknown(),
                        new_secure_algo=types.SecurePasswordKdfAlgoUnknown(),
                        secure_random=b"",
                        has_password=True,
                        current_algo=self._algo,
                        srp_B=srp.big_num_for_hash(self._public()),
                        srp_id=1,
                    )
                )
            case "CheckPassword" if not self._proves(asked.password):
                return bytes(types.RpcError(400, "PASSWORD_HASH_INVALID"))
            case "SignIn" | "CheckPassword":
                self.is_known = True
                return bytes(types.auth.Authorization(user=types.User(id=1, is_self=True)))
            case _:
                return super()._answer(name, asked)

    def _public(self) -> int:
        prime = int.from_bytes(PRIME)
        return (self._multiplier() * self._verifier() + pow(G, self._b, prime)) % prime

    def _verifier(self) -> int:
        secret = int.from_bytes(srp.compute_hash(self._algo, self.password))
        return pow(G, secret, int.from_bytes(PRIME))

    def _multiplier(self) -> int:
        return int.from_bytes(srp.sha256(PRIME, srp.big_num_for_hash(G)))

    def _proves(self, check: Any) -> bool:
        """Whether the client knows the password: the server's half of SRP-6a."""
        prime, ours = int.from_bytes(PRIME), srp.big_num_for_hash(self._public())
        theirs = int.from_bytes(check.A)
        mixed = int.from_bytes(srp.sha256(check.A, ours))
        shared = pow(theirs * pow(self._verifier(), mixed, prime), self._b, prime)
        proof = srp.sha256(
            srp.xor(srp.sha256(PRIME), srp.sha256(srp.big_num_for_hash(G))),
            srp.sha256(self._algo.salt1),
            srp.sha256(self._algo.salt2),
            check.A,
            ours,
            srp.sha256(srp.big_num_for_hash(shared)),
        )
        return proof == check.M1
