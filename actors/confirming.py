"""Confirm tokens in the store: issued by a preflight, used by the one request that they were made for."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from actors.store_calls import stored
from desk import confirmations
from desk.confirmations import FIELD, LIFE_MS, REMEDY
from desk.errors import BadInput, VersionConflict
from desk.store import kinds
from desk.store.port import DocStore
from desk.wallclock import wall_ms

KEPT = 200
"""Rows of tokens, newest first: none of the others can still be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token as it is told once; the store keeps only its hash."""

    token: str
    expires_at_ms: int
    """Wall ms."""


async def issue_token(store: DocStore, action: str, parameters: Mapping[str, str]) -> Issued:
    """Make a token for exactly this action with these parameters; see `parameters_of`."""
    now_ms, key, secret = wall_ms(), secrets.token_hex(8), secrets.token_urlsafe(32)
    row = confirmations.issue(key, secret, action, parameters, now_ms=now_ms)
    await stored(lambda: store.put(kinds.CONFIRMATIONS, key, row, at_ms=now_ms))
    for old in await stored(lambda: store.keys_beyond(kinds.CONFIRMATIONS, KEPT)):
        await stored(partial(store.delete, kinds.CONFIRMATIONS, old))
    return Issued(token=confirmations.token_of(key, secret), expires_at_ms=now_ms + LIFE_MS)


async def use_token(
    store: DocStore, token: str, action: str, parameters: Mapping[str, str], *, trace_id: str
) -> None:
    """Use a token up. Raises `BadInput` on `confirm_token` when it gives no right to this request.

    Call it last, when everything else is checked: a refused request then keeps its token.
    """
    key = confirmations.id_of(token)
    found = await stored(lambda: store.get(kinds.CONFIRMATIONS, key))
    row = confirmations.used(
        found.value if found else None,
        token,
        action,
        parameters,
        by=trace_id,
        now_ms=wall_ms(),
    )
    assert found is not None, "a row that is not there gives no right"
    if row == found.value:
        return  # the same request, come again
    put = partial(store.put, kinds.CONFIRMATIONS, key, row, at_ms=row.issued_ms)
    try:
        await stored(lambda: put(expected_version=found.version))
    except VersionConflict:
        # Another request was faster, or ours was: whose answer got lost and that came again.
        now = await stored(lambda: store.get(kinds.CONFIRMATIONS, key))
        if now is None or now.value != row:
            raise BadInput(FIELD, f"was used before by another request: {REMEDY}") from None


def parameters_of(ask: Any, **others: str) -> dict[str, str]:
    """Every field of an ask as text, but those that only confirm it; None and "None" differ."""
    fields = {name: repr(value) for name, value in asdict(ask).items()}
    return {name: text for name, text in fields.items() if not name.startswith("confirm_")} | others
