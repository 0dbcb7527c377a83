"""freqtrade's REST routes over this desk: its read side, and starting, stopping, pausing, leaving.

A command here is the desk's own command, with its gates, audit and idempotency. Nothing here starts
a live run.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Request

from actors.commands import StartRun
from desk.errors import BadInput
from desk.ids import Pair
from desk.market.interval import parse_interval
from desk.runs import Mode, Run, RunStatus
from desk.store import kinds
from serve_apps import lookups
from serve_apps.candle_pages import older_page
from serve_apps.context import By, Caller, Context, Ctx
from serve_apps.freqtrade import candles, figures, trade_views
from serve_apps.freqtrade.books import (
    Bot,
    Entry,
    bot_of,
    closed,
    entries_of,
    open_entries,
    pair_of,
    run_of,
    trade_id_of,
)
from serve_apps.freqtrade.login import ROOT, FacadeTokens
from serve_apps.freqtrade.schemas import (
    SCHEMA_VERSION,
    STAKE_CURRENCY,
    AccessAndRefreshToken,
    AccessToken,
    Balances,
    Daily,
    ForceExitBody,
    OpenTrade,
    PairHistory,
    Ping,
    Profit,
    ResultMessage,
    ShowConfig,
    StatusMessage,
    Trades,
    Version,
)
from serve_apps.freqtrade.text import minutes_of
from serve_apps.problems import GateRefused
from serve_apps.sessions import Logins
from serve_apps.views.agents import ENDED

router = APIRouter(prefix=ROOT, tags=["freqtrade"])

REASON = "freqtrade client"
"""In the audit of what is asked for without a reason."""
NO_TOKEN = "loopback"  # without API_TOKEN any text will do: only this machine is served


@router.get("/ping")
def ping() -> Ping:
    """Say that the API answers. Unlike at freqtrade it needs the token, as every route does."""
    return Ping(status="pong")


@router.get("/version")
def version(ctx: Ctx) -> Version:
    """Name the release of the desk, not one of freqtrade."""
    return Version(version=_release(ctx))


@router.post("/token/login")
def log_in(ctx: Ctx, request: Request) -> AccessAndRefreshToken:
    """Give tokens to a client that sent the API token as the password of HTTP basic."""
    logins: Logins | None = request.app.state.logins
    if logins is None:
        return AccessAndRefreshToken(access_token=NO_TOKEN, refresh_token=NO_TOKEN)
    if not request.headers.get("authorization", "").lower().startswith("basic "):
        raise BadInput("authorization", "was no HTTP basic: give the API token as the password")
    tokens, now_ms = FacadeTokens(logins), ctx.wall_ms()
    return AccessAndRefreshToken(
        access_token=tokens.issue("access", now_ms), refresh_token=tokens.issue("refresh", now_ms)
    )


@router.post("/token/refresh")
def refresh(ctx: Ctx, request: Request) -> AccessToken:
    """Give another access token to a client that sent its refresh token as the bearer."""
    logins: Logins | None = request.app.state.logins
    if logins is None:
        return AccessToken(access_token=NO_TOKEN)
    return AccessToken(access_token=FacadeTokens(logins).issue("access", ctx.wall_ms()))


@router.get("/show_config")
def show_config(ctx: Ctx) -> ShowConfig:
    """Show what the bot trades, with which limits, and whether it runs."""
    bot = bot_of(ctx)
    run = bot.run
    limits = ctx.store.get(kinds.RISK_LIMITS, run.risk_limit_set_id if run else "default")
    interval = parse_interval(run.interval) if run else None
    is_live = bot.account == Mode.LIVE.value
    stop = run.stop_loss_fraction if run else None
    minutes = minutes_of(interval) if interval else 0
    return ShowConfig(
        version=_release(ctx),
        api_version=SCHEMA_VERSION,
        dry_run=not is_live,
        trading_mode="futures",
        margin_mode="isolated",
        short_allowed=True,
        stake_currency=STAKE_CURRENCY,
        stake_amount=str(limits.value.max_position_size) if limits else "0",
        stake_currency_decimals=2,
        max_open_trades=limits.value.max_open_positions if limits else 0,
        minimal_roi={},
        stoploss=-float(stop) if stop is not None else None,
        stoploss_on_exchange=stop is not None,
        trailing_stop=False,
        timeframe=interval,
        timeframe_ms=minutes * 60_000,
        timeframe_min=minutes,
        exchange=trade_views.EXCHANGE,
        demo_trading=ctx.facts.venue == "vst",
        strategy=bot.strategy or None,
        force_entry_enable=False,
        exit_pricing={},
        entry_pricing={},
        bot_name=bot.agent.name,
        state=bot.state,
        runmode="live" if is_live else "dry_run",
        position_adjustment_enable=False,
        max_entry_position_adjustment=0,
    )


@router.get("/balance")
def balance(ctx: Ctx) -> Balances:
    """Show the account's wallet and positions, worth its equity together."""
    return figures.balances(bot_of(ctx), ctx.facts.leverage)


@router.get("/status")
def status(ctx: Ctx) -> list[OpenTrade]:
    """List open trades, oldest first, at the last marks."""
    bot = bot_of(ctx)
    runs: dict[str, Run | None] = {}
    marks: Mapping[Pair, Decimal] = bot.ledger.marks if bot.ledger else {}
    return [
        trade_views.open_trade(
            entry,
            run_of(ctx, runs, entry.trade.run_id),
            lookups.instrument(ctx.store, entry.trade.instrument),
            marks.get(entry.trade.instrument),
        )
        for entry in open_entries(ctx, bot)
    ]


@router.get("/trades")
def trades(
    ctx: Ctx,
    limit: Annotated[int, Query(ge=1, le=500)] = 500,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    *,
    order_by_id: bool = True,
) -> Trades:
    """List closed trades by number, oldest first; without `order_by_id` the last closed first."""
    ended = list(closed(entries_of(ctx, bot_of(ctx).account)))
    if not order_by_id:
        ended.sort(key=lambda entry: (entry.trade.closed_at_ms or 0, entry.number), reverse=True)
    runs: dict[str, Run | None] = {}
    page = [
        trade_views.closed_trade(
            entry,
            run_of(ctx, runs, entry.trade.run_id),
            lookups.instrument(ctx.store, entry.trade.instrument),
        )
        for entry in ended[offset : offset + limit]
    ]
    return Trades(trades=page, trades_count=len(page), offset=offset, total_trades=len(ended))


@router.get("/profit")
def profit(ctx: Ctx) -> Profit:
    """Show what came of the account's trades, funding left out."""
    bot = bot_of(ctx)
    starts = [doc.value.started_ms for doc in lookups.runs(ctx.store) if _is_of(doc.value, bot)]
    entries = entries_of(ctx, bot.account)
    return figures.profit(bot, entries, min(starts, default=None), ctx.clock.now_ms())


@router.get("/daily")
def daily(
    ctx: Ctx,
    timescale: Annotated[int, Query(ge=1, le=366, description="Days, today among them.")] = 7,
) -> Daily:
    """Show profit day by day, newest first; days are UTC of market time."""
    bot = bot_of(ctx)
    return figures.daily(bot, entries_of(ctx, bot.account), timescale, ctx.clock.now_ms())


@router.get("/pair_candles")
def pair_candles(
    ctx: Ctx,
    pair: Annotated[str, Query(max_length=40)],
    timeframe: Annotated[str, Query(max_length=4)],
    limit: Annotated[int, Query(ge=1, le=5_000)] = 1_500,
) -> PairHistory:
    """Show the newest candles of a pair, closed ones and the one that is being built of them."""
    wanted, interval = pair_of(pair), parse_interval(timeframe)
    if wanted not in ctx.facts.pairs:
        raise BadInput("pair", f"was {pair}, expected one of {', '.join(ctx.facts.pairs)}")
    bot = bot_of(ctx)
    page = older_page(ctx.candles, wanted, interval, before_ms=None, limit=limit)
    entries = entries_of(ctx, bot.account)
    return candles.pair_history(
        bot, wanted, interval, page.candles, entries=entries, now_ms=ctx.clock.now_ms()
    )


@router.post("/start")
async def start(ctx: Ctx, by: By) -> StatusMessage:
    """Resume a paused run; after a stop begin another paper run on the last one's terms.

    A live run that was stopped is not started again: that takes a preflight.
    """
    bot = await asyncio.to_thread(bot_of, ctx)
    run, agent_id = bot.run, bot.agent.agent_id
    if run is None:
        raise GateRefused("there is no run to start again: `desk start PAIR` makes the first")
    if run.status is RunStatus.PAUSED:
        await ctx.desk.resume_run(agent_id, REASON, actor=by.actor, trace_id=by.trace_id)
        return StatusMessage(status="resumed")
    if run.status not in ENDED:
        return StatusMessage(status="already running")
    if run.mode is not Mode.PAPER:
        raise GateRefused(f"run {run.run_id} was live: start it by a preflight and `desk start`")
    await ctx.desk.start_run(agent_id, _again(run), actor=by.actor, trace_id=by.trace_id)
    return StatusMessage(status="started")


@router.post("/stop")
async def stop(ctx: Ctx, by: By) -> StatusMessage:
    """End the run and its resting entries; positions stay, with the stops that are at the venue."""
    bot = await asyncio.to_thread(bot_of, ctx)
    if bot.state == "stopped":
        return StatusMessage(status="already stopped")
    await ctx.desk.stop_run(
        bot.agent.agent_id, REASON, flatten=False, actor=by.actor, trace_id=by.trace_id
    )
    return StatusMessage(status="stopped")


@router.post("/pause")
async def pause(ctx: Ctx, by: By) -> StatusMessage:
    """Pause the run: no new entries, positions stay, exits still pass."""
    return await _pause(ctx, by)


@router.post("/stopentry")
async def stop_entry(ctx: Ctx, by: By) -> StatusMessage:
    """Pause the run, under an older name."""
    return await _pause(ctx, by)


@router.post("/stopbuy")
async def stop_buy(ctx: Ctx, by: By) -> StatusMessage:
    """Pause the run, under the name that `freqtrade-client` uses."""
    return await _pause(ctx, by)


@router.post("/forceexit", responses={404: {"description": "There is no such trade."}})
async def force_exit(ctx: Ctx, by: By, body: ForceExitBody) -> ResultMessage:
    """Close a trade, a part of it, or with `all` every open one, by reduce-only market orders."""
    if body.ordertype not in (None, "market"):
        raise BadInput("ordertype", f"was {body.ordertype}, expected market or null")
    if body.price is not None:
        raise BadInput("price", "was given, expected null: a market order has no price")
    if body.tradeid == "all":
        if body.amount is not None:
            raise BadInput("amount", "was given with all: name one trade, or leave it out")
        held = await asyncio.to_thread(_held, ctx)
        for entry in held:
            await _close(ctx, by, entry.trade.trade_id, None)
        return ResultMessage(result=f"exits of {len(held)} trades ordered")
    trade_id = await asyncio.to_thread(trade_id_of, ctx.store, body.tradeid)
    quantity = Decimal(str(body.amount)) if body.amount is not None else None
    order_id = await _close(ctx, by, trade_id, quantity)
    return ResultMessage(result=f"exit of trade {body.tradeid} ordered: {order_id}")


async def _pause(ctx: Context, by: Caller) -> StatusMessage:
    bot = await asyncio.to_thread(bot_of, ctx)
    if bot.state != "running":
        return StatusMessage(status=f"already {bot.state}")
    await ctx.desk.pause_run(bot.agent.agent_id, REASON, actor=by.actor, trace_id=by.trace_id)
    return StatusMessage(status="paused")


async def _close(ctx: Context, by: Caller, trade_id: str, quantity: Decimal | None) -> str:
    return await ctx.desk.close_trade(
        trade_id, quantity, REASON, name="", actor=by.actor, trace_id=by.trace_id
    )


def _held(ctx: Context) -> list[Entry]:
    return [entry for entry in open_entries(ctx, bot_of(ctx)) if entry.trade.position_size]


def _again(run: Run) -> StartRun:
    """The terms of an ended run; the version is the agent's active one of today."""
    return StartRun(
        mode=Mode.PAPER,
        pair=run.pair,
        risk_limit_set_id=run.risk_limit_set_id,
        decision_threshold=run.decision_threshold,
        learning_enabled=run.learning_enabled,
        learning_window_minutes=run.learning_window_minutes,
        stop_loss_fraction=run.stop_loss_fraction,
        take_profit_fraction=run.take_profit_fraction,
        shadow=run.is_shadow,
    )


def _is_of(run: Run, bot: Bot) -> bool:
    return run.agent_id == bot.agent.agent_id and run.account == bot.account


def _release(ctx: Context) -> str:
    return f"raydesk-{ctx.facts.server_version}"
