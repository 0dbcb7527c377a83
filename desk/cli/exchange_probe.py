"""Probes of an exchange: what our adapter rests on, asked of it with reads alone.

The same code asks the simulator, BingX's demo host and BingX itself. Nothing is placed, changed or
cancelled. Without keys the probes of the account are left out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from desk.cli.findings import Finding, fail, ok, warn
from desk.clock import ClockAnchor
from desk.errors import DeskError, ProtocolError
from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import interval_ms
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig

DEADLINE_S = 30.0
"""For all probes together; each call has the adapter's own deadline besides."""
CLOCK_WARN_MS = 1_000
ROUND_TRIP_WARN_MS = 1_000
PAGE = 120
STEP = "1m"
OF_THE_KEY = "look at BINGX_API_KEY, BINGX_SECRET_KEY and the key's rights, else at the network"
UNREACHABLE = "look at the network, a proxy, and BINGX_BASE_URL; then ask again"


def probe(config: BingxConfig, pairs: Sequence[Pair]) -> list[Finding]:
    """Ask an exchange; one that does not answer is a finding, within `DEADLINE_S`."""
    return asyncio.run(_probe(config, pairs))


async def _probe(config: BingxConfig, pairs: Sequence[Pair]) -> list[Finding]:
    venue = BingxVenue(config)
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            clock = await _clock(venue, config, findings)
            if clock is not None:
                await _asked(findings, "contracts", lambda: _contracts(venue, pairs))
                await _asked(findings, "candles", lambda: _candles(venue, pairs[0], clock))
                if config.api_key:
                    await _asked(findings, "position mode", lambda: _mode(venue), OF_THE_KEY)
                    await _asked(findings, "account", lambda: _account(venue), OF_THE_KEY)
                else:
                    findings.append(_without_keys())
    except TimeoutError:
        text = f"{config.base_url} did not answer everything within {DEADLINE_S:g} s"
        findings.append(fail("exchange", text, UNREACHABLE))
    finally:
        await venue.close()
    return findings


async def _clock(
    venue: BingxVenue, config: BingxConfig, findings: list[Finding]
) -> ClockAnchor | None:
    """Reachability, and how far its clock is from ours; None when it does not answer."""
    try:
        anchor = await venue.server_clock()
    except DeskError as away:
        findings.append(fail("exchange", f"{config.base_url}: {away}", UNREACHABLE))
        return None
    told = f"{config.base_url} answers in {anchor.round_trip_ms} ms"
    if anchor.round_trip_ms > ROUND_TRIP_WARN_MS:
        findings.append(warn("exchange", told, "orders are late from here: use a nearer network"))
    else:
        findings.append(ok("exchange", told))
    speed = "" if anchor.speed == 1 else f", and market time runs {anchor.speed:g} times the wall"
    told = f"the exchange is {anchor.offset_ms} ms ahead of this machine{speed}"
    if abs(anchor.offset_ms) > config.recv_window_ms:
        findings.append(fail("clock", told, "synchronise this machine's clock (NTP)"))
    elif abs(anchor.offset_ms) > CLOCK_WARN_MS:
        findings.append(warn("clock", told, "synchronise this machine's clock (NTP)"))
    else:
        findings.append(ok("clock", told))
    return anchor


async def _asked(
    findings: list[Finding],
    check: str,
    ask: Callable[[], Awaitable[Finding]],
    remedy: str = UNREACHABLE,
) -> None:
    """One probe; an answer that cannot be read, or a refusal, is a finding of its own."""
    try:
        findings.append(await ask())
    except ProtocolError as odd:
        text = "the adapter does not read this host as it answers today: do not trade on it"
        findings.append(fail(check, str(odd), text))
    except DeskError as away:
        findings.append(fail(check, str(away), remedy))


async def _contracts(venue: BingxVenue, pairs: Sequence[Pair]) -> Finding:
    """Whether each configured pair is listed and may be traded, with the steps it trades in."""
    found = await venue.instruments()
    lacking = [pair for pair in pairs if pair not in found]
    halted = [pair for pair in pairs if pair in found and not found[pair].tradable]
    if lacking:
        remedy = "take them out of BINGX_MARKET_DATA_PAIRS"
        return fail("contracts", f"not listed: {', '.join(lacking)}", remedy)
    if halted:
        return warn(
            "contracts", f"not tradable now: {', '.join(halted)}", "wait, or leave them out"
        )
    steps = ", ".join(f"{pair} tick {found[pair].tick} lot {found[pair].lot}" for pair in pairs)
    return ok("contracts", f"{len(found)} listed; {steps}")


async def _candles(venue: BingxVenue, pair: Pair, clock: ClockAnchor) -> Finding:
    """A page of closed candles by both bounds: complete, aligned, in order, and asked twice."""
    step = interval_ms(STEP)
    end_ms = clock.market_ms - clock.market_ms % step - 2 * step
    start_ms = end_ms - PAGE * step
    first = await venue.candles(pair, STEP, start_ms, end_ms)
    second = await venue.candles(pair, STEP, start_ms, end_ms)
    problem = _problem(first, start_ms, end_ms) or _problem(second, start_ms, end_ms)
    if problem:
        remedy = "missing minutes are fetched again; misaligned ones are refused: look closer"
        return warn("candles", f"{pair} {STEP}: {problem}", remedy)
    if not np.array_equal(first.close, second.close):
        remedy = "a stale replica answers by turns: the pollers read each candle again"
        return warn("candles", f"{pair} {STEP}: two equal reads differ", remedy)
    return ok("candles", f"{pair} {STEP}: {len(first)} of {PAGE} closed candles, aligned, twice")


def _problem(candles: Candles, start_ms: int, end_ms: int) -> str:
    opens = candles.open_ms
    if len(opens) and bool(np.any(opens % interval_ms(STEP))):
        return "open times are not on the grid"
    if len(opens) and not (start_ms <= int(opens[0]) and int(opens[-1]) < end_ms):
        return "rows lie outside of the asked range"
    if len(opens) != PAGE:
        return f"{len(opens)} of {PAGE} candles"
    return ""


async def _mode(venue: BingxVenue) -> Finding:
    if await venue.is_hedged():
        return fail("position mode", "hedge mode", "switch BingX to one-way mode; live is refused")
    return ok("position mode", "one-way")


async def _account(venue: BingxVenue) -> Finding:
    balance = await venue.balance()
    positions = await venue.positions()
    orders = await venue.open_orders()
    told = (
        f"{balance.equity} {balance.asset} equity, {len(positions)} positions,"
        f" {len(orders)} open orders"
    )
    return ok("account", told)


def _without_keys() -> Finding:
    remedy = "set BINGX_API_KEY and BINGX_SECRET_KEY to have the account looked at"
    return warn("account", "no keys: position mode, balance and orders were not asked for", remedy)
