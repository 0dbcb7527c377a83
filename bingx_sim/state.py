"""Keep the venue over a restart: clock, accounts, orders, positions, fills, candle edits."""

import builtins
import dataclasses
import json
import os
import types
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from bingx_sim.accounts import Account
from bingx_sim.errors import BadOption
from bingx_sim.exchange import ContractState, Exchange, Habits
from bingx_sim.market import Overlay

FORMAT = 1


@dataclasses.dataclass(slots=True, kw_only=True)
class Saved:
    """Everything that survives. `origin_ms` is the start that history and tape are mapped on."""

    format: int
    seed: int
    origin_ms: int
    market_ms: int
    speed: float
    frozen: bool
    server_offset_ms: int
    settled_ms: int
    counter: int
    accounts: list[Account]
    states: dict[str, ContractState]
    overlays: dict[str, Overlay]
    habits: Habits


def save(exchange: Exchange, path: Path) -> None:
    """Write the state beside the file and move it into place."""
    clock = exchange.clock
    saved = Saved(
        format=FORMAT,
        seed=exchange.seed,
        origin_ms=exchange.origin_ms,
        market_ms=max(clock.market_ms(), exchange.settled_ms),
        speed=clock.speed,
        frozen=clock.frozen,
        server_offset_ms=clock.server_offset_ms,
        settled_ms=exchange.settled_ms,
        counter=exchange.counter,
        accounts=list(exchange.accounts.values()),
        states=exchange.states,
        overlays={pair: market.overlay for pair, market in exchange.markets.items()},
        habits=exchange.habits,
    )
    draft = path.with_name(path.name + ".draft")
    draft.write_text(json.dumps(_plain(saved), separators=(",", ":")))
    os.replace(draft, path)


def load(path: Path) -> Saved | None:
    """Read a saved state; None if there is no file yet."""
    if not path.exists():
        return None
    try:
        saved = _typed(Saved, json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, ArithmeticError) as problem:
        text = f"the state file {path} cannot be read ({problem}); move it away to start afresh"
        raise BadOption(text) from None
    if saved.format != FORMAT:
        text = f"the state file {path} has format {saved.format}, expected {FORMAT}; move it away"
        raise BadOption(text)
    return saved


def restore(exchange: Exchange, saved: Saved) -> None:
    """Put a saved state into a fresh exchange of the same seed."""
    exchange.settled_ms = saved.settled_ms
    exchange.counter = saved.counter
    exchange.accounts = {account.key: account for account in saved.accounts}
    exchange.states = saved.states
    exchange.habits = saved.habits
    exchange.clock.server_offset_ms = saved.server_offset_ms
    if saved.frozen:
        exchange.clock.freeze()
        exchange.clock.jump(saved.market_ms)
    for pair, overlay in saved.overlays.items():
        exchange.markets[pair].replace_overlay(overlay)


def _plain(value: Any) -> Any:
    """Turn dataclasses into JSON values; decimals become strings, keys become strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    return str(value) if isinstance(value, Decimal) else value


def _typed[T](kind: type[T], value: Any) -> T:
    """Rebuild a value of an annotated type from its JSON form."""
    return cast("T", _rebuilt(kind, value))


def _rebuilt(kind: Any, value: Any) -> Any:
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case types.UnionType:
            result = None if value is None else _rebuilt(arguments[0], value)
        case builtins.list:
            result = [_rebuilt(arguments[0], item) for item in value]
        case builtins.tuple:
            result = tuple(value)
        case builtins.dict:
            result = {arguments[0](k): _rebuilt(arguments[1], v) for k, v in value.items()}
        case _ if dataclasses.is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            names = [field.name for field in dataclasses.fields(kind)]
            made = {name: _rebuilt(hints[name], value[name]) for name in names}
            result = cast("Any", kind)(**made)
        case _:
            result = Decimal(value) if kind is Decimal else value
    return result
