"""The facade of freqtrade's REST interface: its schema, its log-in, its own client, our commands."""

import base64
import json
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from freqtrade_client.ft_rest_client import FtRestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from desk.clock import MINUTE_MS
from desk.runs import Mode, RunStatus
from desk.store import kinds
from desk.trading import ledger as books
from desk.trading.orders import Leg, Order, Side
from serve_apps.freqtrade import schemas
from serve_apps.freqtrade.books import number_of, pair_of, symbol_of
from serve_apps.freqtrade.login import ACCESS_S, REFRESH_S
from tests.serve_apps.scene import BASELINE, NOW_MS, OPEN_MS, PAIR, TOKEN, Scene, make_run, note
from tests.serving import served

THEIRS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "freqtrade_schema.json").read_text()
)
"""Fields of freqtrade 2026.9: its type, and `optional` where it may be left out."""
OURS: dict[str, type[BaseModel]] = {
    "Ping": schemas.Ping,
    "Version": schemas.Version,
    "StatusMsg": schemas.StatusMessage,
    "ResultMsg": schemas.ResultMessage,
    "AccessToken": schemas.AccessToken,
    "AccessAndRefreshToken": schemas.AccessAndRefreshToken,
    "Balance": schemas.Balance,
    "Balances": schemas.Balances,
    "Profit": schemas.Profit,
    "DailyWeeklyMonthlyRecord": schemas.DailyRecord,
    "DailyWeeklyMonthly": schemas.Daily,
    "ShowConfig": schemas.ShowConfig,
    "OrderSchema": schemas.TradeOrder,
    "TradeSchema": schemas.FacadeTrade,
    "OpenTradeSchema": schemas.OpenTrade,
    "TradeResponse": schemas.Trades,
    "PairHistory": schemas.PairHistory,
    "ForceExitPayload": schemas.ForceExitBody,
}
NULL_ON_THEIR_WIRE = {"profit_factor", "expectancy_ratio", "current_rate"}
"""Floats that freqtrade answers as null where they are infinite or not a number."""
WORDS = {"datetime": "str", "TradingMode": "str", "OrderTypeValues": "str", "IntOrInf": "int"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def basic(password: str, user: str = "freqtrader") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# --- the schema ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_every_answer_has_freqtrades_fields_with_its_types(name: str) -> None:
    ours = {field: spelled(info.annotation) for field, info in OURS[name].model_fields.items()}
    theirs = {field: kind.removesuffix(" optional") for field, kind in THEIRS[name].items()}
    needed = {field for field, kind in THEIRS[name].items() if not kind.endswith(" optional")}

    assert needed <= set(ours)
    assert set(ours) <= set(theirs)
    for field, kind in ours.items():
        wanted = plain(theirs[field])
        assert kind == wanted or (field in NULL_ON_THEIR_WIRE and kind == wanted | {"None"}), field


def spelled(annotation: Any) -> set[str]:
    """The plain types of an annotation, without bounds; what a list holds is left out."""
    if isinstance(annotation, typing.TypeAliasType):
        return spelled(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return spelled(typing.get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        return {word for part in typing.get_args(annotation) for word in spelled(part)}
    named = (origin or annotation).__name__
    return {"None" if named == "NoneType" else named}


def plain(kind: str) -> set[str]:
    """The same of freqtrade's text."""
    words = {word.split("[")[0].strip() for word in kind.split(" | ")}
    words = {"list" if word == "SerializeAsAny" else word for word in words}
    return {WORDS.get(word, word) for word in words}


# --- who is let in ------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["freqtrader", "", "somebody"])
def test_the_password_of_http_basic_is_the_api_token_whoever_asks(
    guarded: TestClient, user: str
) -> None:
    assert guarded.get("/api/v1/version", headers=basic(TOKEN, user)).status_code == 200
    assert guarded.get("/api/v1/version", headers=basic(TOKEN + "x", user)).status_code == 401


def test_http_basic_is_good_for_the_facade_only(guarded: TestClient) -> None:
    assert guarded.get("/api/v1/ping", headers=basic(TOKEN)).json() == {"status": "pong"}
    assert guarded.get("/agents", headers=basic(TOKEN)).status_code == 401
    assert guarded.post("/ops/trading/kill", headers=basic(TOKEN)).status_code == 401


def test_a_login_gives_tokens_that_end_and_can_be_refreshed(
    guarded: TestClient, scene: Scene
) -> None:
    tokens = guarded.post("/api/v1/token/login", headers=basic(TOKEN)).json()
    access = {"Authorization": f"Bearer {tokens['access_token']}"}
    renew = {"Authorization": f"Bearer {tokens['refresh_token']}"}

    assert guarded.get("/api/v1/version", headers=access).status_code == 200
    assert guarded.get("/agents", headers=access).status_code == 401
    assert guarded.get("/api/v1/version", headers=renew).status_code == 401
    assert guarded.post("/api/v1/token/refresh", headers=access).status_code == 401
    assert guarded.post("/api/v1/token/login", headers=access).status_code == 422

    scene.wall_ms += ACCESS_S * 1_000
    assert guarded.get("/api/v1/version", headers=access).status_code == 401
    fresh = guarded.post("/api/v1/token/refresh", headers=renew).json()["access_token"]
    assert fresh != tokens["access_token"]
    assert (
        guarded.get("/api/v1/version", headers={"Authorization": f"Bearer {fresh}"}).status_code
        == 200
    )

    scene.wall_ms += REFRESH_S * 1_000
    assert guarded.post("/api/v1/token/refresh", headers=renew).status_code == 401


def test_a_token_of_another_api_token_or_a_changed_one_is_refused(
    guarded: TestClient, scene: Scene
) -> None:
    with TestClient(scene.app(token="another-token-of-16-chars")) as elsewhere:
        other = elsewhere.post(
            "https://127.0.0.1:8000/api/v1/token/login", headers=basic("another-token-of-16-chars")
        ).json()["access_token"]
    ours = guarded.post("/api/v1/token/login", headers=basic(TOKEN)).json()["access_token"]
    head, claims, mac = ours.split(".")
    longer = base64.urlsafe_b64decode(claims + "==").replace(b'"exp":1', b'"exp":9')
    forged = base64.urlsafe_b64encode(longer).decode().rstrip("=")

    for token in (other, f"{head}.{forged}.{mac}", f"{head}.{claims}.", "a.b.c", "", "." * 3_000):
        answer = guarded.get("/api/v1/version", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token[:40]


def test_wrong_passwords_count_with_those_of_the_login_page(
    guarded: TestClient, scene: Scene
) -> None:
    for _ in range(3):
        assert guarded.post("/login", data={"password": "wrong"}).status_code == 401
    for _ in range(2):
        assert guarded.get("/api/v1/version", headers=basic("wrong")).status_code == 401

    refused = guarded.get("/api/v1/version", headers=basic(TOKEN))

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
    assert guarded.post("/login", data={"password": TOKEN}).status_code == 429
    assert guarded.get("/api/v1/version", headers=BEARER).status_code == 200
    assert any(doc.value.code == "login_failures" for doc in scene.store.list(kinds.ALERTS))


# --- the read side, through freqtrade's own client ----------------------------------------------


@pytest.fixture
def bot(scene: Scene) -> Iterator[Any]:
    """The unmodified client, over HTTP, with the user name and password that its tools ask for."""
    with served(scene.app(token=TOKEN)) as url:
        yield FtRestClient(url, "freqtrader", TOKEN)


def round_trip(scene: Scene, name: str, out_price: str, *, side: Side = Side.BUY) -> Order:
    """A trade that is opened at 40,004 and closed a minute later; fees 0.2 each way."""
    entry = scene.fill(scene.send(scene.order(name, side=side)))
    scene.clock.advance(MINUTE_MS)
    out = scene.order(
        f"{name}-out",
        leg=Leg.EXIT,
        trade_id=entry.trade_id,
        side=Side.of(-side.sign),
        reserved_quote=Decimal(0),
    )
    scene.fill(scene.send(out), out_price)
    scene.clock.advance(MINUTE_MS)
    return entry


def test_the_client_reads_an_open_trade_and_the_wallet(scene: Scene, bot: Any) -> None:
    entry = scene.fill(scene.send(scene.order(stop_loss_price=Decimal("38003.8"))))
    marked = books.mark(scene.ledger(), {PAIR: Decimal(41_004)}, NOW_MS)
    scene.store.move_ledger(
        scene.ledger(), marked, fence=scene.fence, request_id="mark", event=note(NOW_MS)
    )

    [trade] = bot.status()
    wallet = bot.balance()
    config = bot.show_config()

    assert bot.ping() == {"status": "pong"}
    assert (trade["pair"], trade["is_open"], trade["is_short"]) == ("BTC/USDT:USDT", True, False)
    assert (trade["amount"], trade["open_rate"], trade["current_rate"]) == (0.01, 40004.0, 41004.0)
    assert trade["total_profit_abs"] == pytest.approx(10 - 0.2)
    assert trade["profit_ratio"] == pytest.approx(9.8 / 400.04)
    assert (trade["stop_loss_abs"], trade["stop_loss_pct"]) == (38003.8, -5.0)
    assert trade["open_timestamp"] == NOW_MS
    assert trade["orders"][0]["order_id"] == entry.client_order_id
    assert trade["orders"][0]["status"] == "closed"
    assert trade["fee_open_cost"] == 0.2
    assert wallet["total"] == pytest.approx(10_000 - 0.2 + 10)
    assert sum(row["est_stake"] for row in wallet["currencies"]) == pytest.approx(wallet["total"])
    assert [row["currency"] for row in wallet["currencies"]] == ["USDT", "BTC/USDT:USDT"]
    assert wallet["note"] == "Simulated balances"
    assert (config["dry_run"], config["runmode"], config["state"]) == (True, "dry_run", "running")
    assert (config["strategy"], config["timeframe"]) == (BASELINE, "1m")
    assert bot.version() == {"version": "raydesk-0.1.0"}


def test_the_client_reads_profits_that_our_own_trades_add_up_to(
    scene: Scene, bot: Any, client: TestClient
) -> None:
    round_trip(scene, "won", "40504.0")
    round_trip(scene, "lost", "39804.0")
    round_trip(scene, "short", "39904.0", side=Side.SELL)

    listed = client.get("/trades").json()["items"]
    profit = bot.profit()
    trades = bot.trades()
    today = bot.daily(3)["data"][0]

    nets = [float(row["net_pnl"]) for row in listed]
    assert profit["profit_closed_coin"] == pytest.approx(sum(nets)) == pytest.approx(2.8)
    assert profit["profit_all_coin"] == pytest.approx(2.8)
    assert (profit["winning_trades"], profit["losing_trades"]) == (2, 1)
    assert profit["winrate"] == pytest.approx(2 / 3)
    assert profit["profit_factor"] == pytest.approx((4.6 + 0.6) / 2.4)
    assert profit["expectancy"] == pytest.approx(2.8 / 3)
    assert profit["max_drawdown_abs"] == pytest.approx(2.4)
    assert profit["max_drawdown"] == pytest.approx(2.4 / 10_004.6)
    assert profit["current_drawdown_abs"] == pytest.approx(4.6 - 2.8)
    assert profit["avg_duration"] == "0:01:00"
    assert profit["best_pair"] == "BTC/USDT:USDT"
    assert profit["first_trade_timestamp"] == NOW_MS
    assert profit["bot_start_timestamp"] == OPEN_MS
    assert profit["profit_closed_percent"] == pytest.approx(0.03)
    assert [trade["is_short"] for trade in trades["trades"]] == [False, False, True]
    assert [trade["close_profit_abs"] for trade in trades["trades"]] == pytest.approx(nets[::-1])
    assert (trades["trades_count"], trades["total_trades"], trades["offset"]) == (3, 3, 0)
    assert today["abs_profit"] == pytest.approx(2.8)
    assert today["trade_count"] == 3
    assert today["starting_balance"] == pytest.approx(10_000)
    assert [row["trade_count"] for row in bot.daily(3)["data"]] == [3, 0, 0]


def test_trades_are_paged_by_number_or_by_their_end(scene: Scene, bot: Any) -> None:
    for name in ("a", "b", "c"):
        round_trip(scene, name, "40504.0")

    oldest_first = [row["trade_id"] for row in bot.trades()["trades"]]
    second = bot.trades(limit=1, offset=1)
    newest_first = [row["trade_id"] for row in bot.trades(order_by_id=False)["trades"]]

    assert oldest_first == sorted(oldest_first)
    assert [row["trade_id"] for row in second["trades"]] == oldest_first[1:2]
    assert (second["offset"], second["total_trades"]) == (1, 3)
    assert newest_first == oldest_first[::-1]


def test_an_entry_that_was_never_filled_counts_nowhere(scene: Scene, bot: Any) -> None:
    scene.move(scene.send(scene.order("gone")), "cancelled")
    scene.order("waiting")

    assert bot.trades()["total_trades"] == 0
    assert bot.profit()["closed_trade_count"] == 0
    [waiting] = bot.status()
    assert waiting["has_open_orders"] is True
    assert (waiting["total_profit_abs"], waiting["open_fill_date"]) == (0.0, None)


def test_a_desk_without_trades_answers_whole_and_without_claims(bot: Any) -> None:
    profit = bot.profit()

    assert (profit["trade_count"], profit["profit_all_coin"]) == (0, 0.0)
    assert (profit["profit_factor"], profit["best_pair"], profit["first_trade_date"]) == (
        None,
        "",
        "",
    )
    assert bot.status() == []
    assert bot.trades()["trades"] == []
    assert len(bot.daily()["data"]) == 7


@pytest.mark.parametrize("name", ["BTC/USDT:USDT", "BTC/USDT", "BTC-USDT", "btc/usdt"])
def test_candles_are_rows_with_the_trades_that_fell_in_them(
    scene: Scene, bot: Any, name: str
) -> None:
    scene.candles(50)
    round_trip(scene, "won", "40504.0")

    history = bot.pair_candles(name, "1m", 20)

    assert history["columns"] == ["date", "open", "high", "low", "close", "volume", "__date_ts"]
    assert history["length"] == len(history["data"]) == 20
    assert history["data"][-1][1:] == [149.0, 150.0, 148.0, 149.5, 50.0, OPEN_MS]
    assert history["data_stop_ts"] == OPEN_MS
    assert history["pair"] == "BTC/USDT:USDT"
    assert history["timeframe_ms"] == MINUTE_MS
    hours = bot.pair_candles(name, "1h", 5)
    assert hours["enter_long_signals"] == 1
    assert hours["exit_short_signals"] == 0


@given(st.sampled_from(["BTC-USDT", "ETH-USDT", "1000PEPE-USDT", "SOL-USDT"]))
def test_a_pair_is_the_same_there_and_back(pair: str) -> None:
    assert pair_of(symbol_of(pair)) == pair


@given(st.integers(0, 253_402_300_799_999 // 36), st.text(min_size=1, max_size=26))
def test_a_trades_number_rises_with_time_and_fits_every_reader(at_ms: int, trade_id: str) -> None:
    def number(created_ms: int) -> int:
        order = types.SimpleNamespace(created_ms=created_ms)
        return number_of((order,), trade_id)  # pyright: ignore[reportArgumentType]

    assert number(at_ms) < number(at_ms + 1) <= schemas.MAX_NUMBER


# --- commands -----------------------------------------------------------------------------------


def heard(scene: Scene) -> list[str]:
    return [command for command, _ in scene.desk.heard]


def test_the_client_pauses_resumes_stops_and_starts_a_paper_run(scene: Scene, bot: Any) -> None:
    states: list[str] = []
    for command in (bot.stopbuy, bot.stopbuy, bot.start, bot.start, bot.stop, bot.stop, bot.start):
        command()
        states.append(bot.show_config()["state"])

    assert states == ["paused", "paused", "running", "running", "stopped", "stopped", "running"]
    assert heard(scene) == ["pause", "resume", "stop", "start"]
    ask = scene.desk.heard[-1][1]["ask"]
    assert (ask.mode, ask.pair, ask.risk_limit_set_id) == (Mode.PAPER, PAIR, "default")
    assert (ask.confirm_token, ask.version_id) == ("", None)
    assert {arguments["actor"] for _, arguments in scene.desk.heard} == {"operator"}
    assert scene.desk.heard[2][1]["flatten"] is False


def test_a_stopped_live_run_is_never_started_by_the_facade(scene: Scene, bot: Any) -> None:
    live = make_run("run-1", mode=Mode.LIVE, account="live", status=RunStatus.STOPPED)
    scene.store.put(kinds.RUNS, "run-1", live, at_ms=live.started_ms)

    answer = bot.start()

    assert (answer["status"], answer["title"]) == (409, "A gate refused")
    assert "preflight" in answer["detail"]
    assert scene.desk.heard == []
    assert bot.show_config()["dry_run"] is False


def test_a_paused_live_run_is_resumed_by_the_desks_own_command(scene: Scene, bot: Any) -> None:
    live = make_run("run-1", mode=Mode.LIVE, account="live", status=RunStatus.PAUSED)
    scene.store.put(kinds.RUNS, "run-1", live, at_ms=live.started_ms)

    assert bot.start() == {"status": "resumed"}
    assert heard(scene) == ["resume"]


def test_the_client_closes_a_trade_by_its_number_a_part_of_it_or_all(
    scene: Scene, bot: Any
) -> None:
    entry = scene.fill(scene.send(scene.order()))
    number = bot.status()[0]["trade_id"]

    bot.forceexit(number)
    bot.forceexit(str(number), ordertype="market", amount=0.004)
    bot.forceexit(entry.trade_id)
    bot.forceexit("all")

    closes = [arguments for command, arguments in scene.desk.heard if command == "close"]
    assert [close["trade_id"] for close in closes] == [entry.trade_id] * 4
    assert [close["quantity"] for close in closes] == [None, Decimal("0.004"), None, None]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tradeid": "all", "ordertype": "limit"}, "ordertype"),
        ({"tradeid": "all", "price": 1.0}, "price"),
        ({"tradeid": "all", "amount": 1.0}, "amount"),
        ({"tradeid": 1, "amount": -1.0}, "amount"),
        ({"tradeid": 1, "more": 1.0}, "more"),
        ({}, "tradeid"),
    ],
)
def test_an_exit_that_cannot_be_carried_out_as_asked_is_refused_by_field(
    client: TestClient, scene: Scene, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/api/v1/forceexit", json=body)

    assert answer.status_code == 422
    assert answer.json()["field"].startswith(field)
    assert scene.desk.heard == []


@pytest.mark.parametrize("tradeid", [1, "no-such-trade", (1 << 53) - 1])
def test_a_trade_that_is_not_there_is_not_found(client: TestClient, tradeid: object) -> None:
    assert client.post("/api/v1/forceexit", json={"tradeid": tradeid}).status_code == 404


def test_a_repeat_under_one_key_is_one_command(client: TestClient, scene: Scene) -> None:
    answers = [
        client.post("/api/v1/pause", headers={"Idempotency-Key": "once"}).json() for _ in range(2)
    ]

    assert answers == [{"status": "paused"}] * 2
    assert heard(scene) == ["pause"]
