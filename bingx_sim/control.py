"""The control plane on its own port: look at everything, change anything."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import Any, cast

from aiohttp import web

from bingx_sim.accounts import Account
from bingx_sim.control_account import change_account
from bingx_sim.control_market import change_market
from bingx_sim.errors import BadOption, Refusal
from bingx_sim.exchange import Habits
from bingx_sim.order_rows import order_row
from bingx_sim.rows import balance_row, position_row
from bingx_sim.simulator import Simulator

type Fields = dict[str, Any]
type Handler = Callable[[web.Request], Awaitable[web.Response]]

CLOCK_FIELDS = frozenset(
    {"freeze", "speed", "advance_ms", "market_ms"}
    | {"server_offset_ms", "server_drift_ppm", "pin_server_ms"}
)
JOURNAL_PAGE = 10_000
HABIT_VALUES = {"kline_mode": ("last", "first"), "kline_rows": ("dict", "array")}


class Control:
    """The `/_sim/` routes."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator

    def application(self) -> web.Application:
        app = web.Application()
        for method, path, handler in (
            ("GET", "state", self.state),
            ("GET", "journal", self.journal),
            ("GET", "clock", self.clock),
            ("POST", "clock", self.set_clock),
            ("GET", "faults", self.faults),
            ("POST", "faults", self.add_faults),
            ("DELETE", "faults", self.clear_faults),
            ("POST", "faults/release", self.release_faults),
            ("POST", "market", self.market),
            ("POST", "account", self.account),
            ("GET", "habits", self.habits),
            ("POST", "habits", self.set_habits),
            ("POST", "reset", self.reset),
        ):
            app.router.add_route(method, f"/_sim/{path}", _guarded(handler))
        return app

    async def state(self, request: web.Request) -> object:
        del request
        now_ms = self._sim.catch_up()
        exchange = self._sim.exchange
        return {
            "seed": exchange.seed,
            "clock": exchange.clock.as_row(),
            "prices": {pair: str(exchange.mark(pair, now_ms)) for pair in exchange.markets},
            "contracts": {pair: asdict(state) for pair, state in exchange.states.items()},
            "accounts": [self._account(account, now_ms) for account in exchange.accounts.values()],
            "rules": self._sim.faults.rows(),
            "requests": self._sim.journal.count,
            "habits": self._habits(),
        }

    def _account(self, account: Account, now_ms: int) -> Fields:
        marks = self._sim.exchange.marks(now_ms, account)
        return {
            "key": account.key,
            "user_id": account.user_id,
            "balance": balance_row(account, marks),
            "hedged": account.hedged,
            "settings": {pair: asdict(chosen) for pair, chosen in account.settings.items()},
            "positions": [position_row(account, p, marks) for p in account.positions.values()],
            "orders": [order_row(order) for order in account.orders.values()],
            "fills": [asdict(fill) for fill in account.fills],
            "incomes": [asdict(income) for income in account.incomes],
        }

    async def journal(self, request: web.Request) -> object:
        after = int(request.query.get("after", "0"))
        limit = int(request.query.get("limit", str(JOURNAL_PAGE)))
        entries = list(self._sim.journal.after(after, limit))
        return {"count": self._sim.journal.count, "entries": entries}

    async def clock(self, request: web.Request) -> object:
        del request
        return self._sim.exchange.clock.as_row()

    async def set_clock(self, request: web.Request) -> object:
        """Carry out what is given, in the order of `CLOCK_FIELDS` as documented."""
        body = await _body(request)
        _only(body, CLOCK_FIELDS)
        clock = self._sim.exchange.clock
        now_ms = self._sim.catch_up()
        if "freeze" in body:
            clock.freeze() if body["freeze"] else clock.resume()
        if "speed" in body:
            clock.set_speed(float(body["speed"]))
        if "advance_ms" in body:
            clock.advance(int(body["advance_ms"]))
        if "market_ms" in body:
            clock.advance(int(body["market_ms"]) - now_ms)
        if "server_offset_ms" in body:
            clock.server_offset_ms = int(body["server_offset_ms"])
        if "server_drift_ppm" in body:
            clock.drift(float(body["server_drift_ppm"]))
        if "pin_server_ms" in body:
            pinned = body["pin_server_ms"]
            clock.pin_server(None if pinned is None else int(pinned))
        self._sim.catch_up()
        return clock.as_row()

    async def faults(self, request: web.Request) -> object:
        del request
        return {"rules": self._sim.faults.rows()}

    async def add_faults(self, request: web.Request) -> object:
        """Add one rule, or all of `rules`."""
        return {"ids": self._sim.faults.add_all(await _body(request))}

    async def clear_faults(self, request: web.Request) -> object:
        self._sim.faults.remove(request.query.get("id"))
        return {"rules": self._sim.faults.rows()}

    async def release_faults(self, request: web.Request) -> object:
        body = await _body(request)
        self._sim.faults.release(body.get("id"))
        return {"rules": self._sim.faults.rows()}

    async def market(self, request: web.Request) -> object:
        body = await _body(request)
        return change_market(self._sim, body)

    async def account(self, request: web.Request) -> object:
        body = await _body(request)
        account = change_account(self._sim, body)
        return self._account(account, self._sim.catch_up())

    def _habits(self) -> Fields:
        limits = self._sim.limits
        chosen = asdict(self._sim.exchange.habits)
        return {
            **chosen,
            "limits": limits.enabled,
            "limit_factor": limits.factor,
            "rate_budget": limits.budget,
        }

    async def habits(self, request: web.Request) -> object:
        del request
        return self._habits()

    async def set_habits(self, request: web.Request) -> object:
        """Turn a habit: those of `Habits`, `limits`, `limit_factor`, `rate_budget`, `ban` {caller, seconds}, `lift`."""
        body = await _body(request)
        names = {habit.name for habit in fields(Habits)}
        _only(body, names | {"limits", "limit_factor", "rate_budget", "ban", "lift"})
        for name in names & set(body):
            if name in HABIT_VALUES and body[name] not in HABIT_VALUES[name]:
                raise BadOption(f"{name} is {body[name]!r}; it can be {HABIT_VALUES[name]}")
            setattr(self._sim.exchange.habits, name, body[name])
        limits = self._sim.limits
        limits.enabled = bool(body.get("limits", limits.enabled))
        limits.factor = float(body.get("limit_factor", limits.factor))
        limits.budget = int(body.get("rate_budget", limits.budget))
        if "ban" in body:
            limits.ban(str(body["ban"]["caller"]), float(body["ban"].get("seconds", 60)))
        if body.get("lift"):
            limits.lift()
        return self._habits()

    async def reset(self, request: web.Request) -> object:
        body = await _body(request)
        _only(body, {"seed", "market_ms"})
        self._sim.reset(seed=body.get("seed"), market_ms=body.get("market_ms"))
        return self._sim.exchange.clock.as_row()


async def _body(request: web.Request) -> Fields:
    text = await request.text()
    parsed: Any = json.loads(text or "{}")
    if not isinstance(parsed, dict):
        raise BadOption("the body must be a JSON object")
    return cast("Fields", parsed)


def _only(body: Fields, known: frozenset[str] | set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise BadOption(f"unknown fields {unknown}; known are {sorted(known)}")


def _guarded(handler: Callable[[web.Request], Awaitable[object]]) -> Handler:
    """Answer JSON; what cannot be done is HTTP 400 with the sentence."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request), dumps=_dumps)
        except (BadOption, Refusal) as problem:
            return web.json_response({"error": str(problem)}, status=400)
        except (ValueError, ArithmeticError, KeyError, TypeError) as problem:
            sentence = f"the request cannot be read: {type(problem).__name__}: {problem}"
            return web.json_response({"error": sentence}, status=400)

    return answer


def _dumps(value: object) -> str:
    return json.dumps(value, default=str)
