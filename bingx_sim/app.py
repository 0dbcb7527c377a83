"""The wire: one handler that journals, lets faults act, checks, dispatches and answers."""

import json
from asyncio import BaseTransport
from typing import Any, cast, override
from weakref import WeakKeyDictionary

from aiohttp import web

from bingx_sim import fault_answers, fault_candles, fault_orders, fault_transport
from bingx_sim.errors import HttpRefusal, Refusal
from bingx_sim.exchange import Call
from bingx_sim.faults import Outcome, Rule, Subject, apply_before
from bingx_sim.journal import Entry
from bingx_sim.routes import Route, routes_of
from bingx_sim.signing import authenticate, check_timestamp, decoded
from bingx_sim.simulator import Simulator
from bingx_sim.user import NO_DATA, Bare

FAULT_MODULES = (fault_answers, fault_candles, fault_orders, fault_transport)
"""Imported so that their actions are known."""


class Wire:
    """Answer the venue's HTTP requests."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator
        self._routes = routes_of(simulator.exchange, simulator.trading)
        self._connections: WeakKeyDictionary[BaseTransport, int] = WeakKeyDictionary()
        self._connected = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        sim = self._sim
        raw_query = request.rel_url.raw_query_string
        pairs = decoded(raw_query)
        entry = sim.journal.open(
            receive_ms=sim.exchange.clock.wall_ms(),
            market_ms=sim.exchange.clock.market_ms(),
            connection=self._connection(request),
            method=request.method,
            path=request.path,
            pairs=pairs,
            raw_query=raw_query,
        )
        outcome = await self._outcome(request, pairs, entry)
        entry.status, entry.code = outcome.status, outcome.code
        entry.answer_ms = sim.exchange.clock.wall_ms()
        if outcome.dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if outcome.cut is not None:
            return await _cut(request, outcome)
        speed = sim.exchange.clock.speed
        return _Noted(entry, outcome, sim.limits.headers(request.remote or "unknown", speed))

    async def _outcome(
        self, request: web.Request, pairs: list[tuple[str, str]], entry: Entry
    ) -> Outcome:
        key = request.headers.get("X-BX-APIKEY", "")
        account = self._sim.exchange.accounts.get(key)
        subject = Subject(
            method=request.method,
            path=request.path,
            params=dict(pairs),
            account=key,
            market_ms=entry.market_ms,
        )
        entry.account = account.user_id if account is not None else ""
        rules = self._sim.faults.fired_by(subject)
        entry.rules = [rule.rule_id for rule in rules]
        outcome = await apply_before(rules, subject)
        if outcome is None:
            for _ in range(subject.repeats):
                outcome = self._process(request, pairs, key, rules, entry)
        assert outcome is not None
        if subject.finished is not None:
            subject.finished()
        for rule in rules:
            outcome = await rule.action.after(outcome)
        return outcome

    def _process(
        self,
        request: web.Request,
        pairs: list[tuple[str, str]],
        key: str,
        rules: list[Rule],
        entry: Entry,
    ) -> Outcome:
        """Carry the request out; a refusal is an answer too."""
        now_ms = self._sim.catch_up()
        call = Call(
            params=dict(pairs), now_ms=now_ms, server_ms=self._sim.exchange.clock.server_ms()
        )
        try:
            route = self._admit(request, pairs, key, call)
            for rule in rules:
                rule.action.amend_call(call)
            entry.processed += 1
            data = route.endpoint(call)
        except HttpRefusal as refusal:
            return Outcome(refusal.status, refusal.body)
        except Refusal as refusal:
            envelope: dict[str, Any] = {"code": refusal.code, "msg": refusal.message, "data": {}}
        else:
            envelope = _enveloped(data, request.path, call)
            entry.order_id = _order_id(data) or entry.order_id
        for rule in rules:
            envelope = rule.action.amend_answer(envelope, call)
        text = json.dumps(envelope, separators=(",", ":"))
        return Outcome(200, text, code=envelope.get("code", ""))

    def _admit(
        self, request: web.Request, pairs: list[tuple[str, str]], key: str, call: Call
    ) -> Route:
        """The gateway: known path, limits, signature, timestamp."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            raise Refusal(
                100400, f"this api is not exist, please refer to the API docs: {request.path}"
            )
        self._sim.limits.charge(request.remote or "unknown", self._sim.exchange.clock.speed)
        caller = key if route.signed else request.remote or "unknown"
        self._sim.limits.check(
            caller=caller,
            endpoint=f"{request.method} {request.path}",
            per_second=route.per_second,
            speed=self._sim.exchange.clock.speed,
        )
        if route.signed:
            call.account = authenticate(pairs, key, self._sim.exchange.accounts)
            check_timestamp(call.params, call.server_ms)
        return route

    def _connection(self, request: web.Request) -> int:
        """A small number for the TCP connection, in order of first use."""
        transport = request.transport
        if transport is None:
            return 0
        if transport not in self._connections:
            self._connected += 1
            self._connections[transport] = self._connected
        return self._connections[transport]


class _Noted(web.Response):
    """An answer that is noted as such only once it was written to a connection that still stands."""

    def __init__(self, entry: Entry, outcome: Outcome, headers: dict[str, str]) -> None:
        super().__init__(
            status=outcome.status,
            text=outcome.text,
            content_type=outcome.content_type,
            headers=headers,
        )
        self._entry = entry

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        transport = None if self._req is None else self._req.transport
        stands = transport is not None and not transport.is_closing()
        await super().write_eof(data)
        self._entry.answered = stands


async def _cut(request: web.Request, outcome: Outcome) -> web.StreamResponse:
    """Promise the whole body, send its beginning, close the connection."""
    body = outcome.text.encode()
    response = web.StreamResponse(status=outcome.status, headers={"Content-Length": str(len(body))})
    response.content_type = outcome.content_type
    await response.prepare(request)
    await response.write(body[: outcome.cut])
    if request.transport is not None:
        request.transport.close()
    return response


def _order_id(data: object) -> str:
    if not isinstance(data, dict):
        return ""
    order = cast("dict[str, Any]", data).get("order", {})
    return str(order.get("orderId", ""))


def _enveloped(data: object, path: str, call: Call) -> dict[str, Any]:
    """Wrap an answer. Endpoints of version 1 add a time stamp, in one of two spellings."""
    if isinstance(data, Bare):
        return data.row
    envelope: dict[str, Any] = {"code": 0, "msg": ""}
    if "/swap/v1/" in path:
        envelope["timeStamp" if path.endswith("/dual") else "timestamp"] = call.server_ms
    if data is not NO_DATA:
        envelope["data"] = data
    return envelope
