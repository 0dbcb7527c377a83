"""Summary, guardrails, metrics, reconciliation, kill, alerts, audit, actors, gaps, sources, jobs."""

from dataclasses import replace
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient

from actors.audit import append_row
from actors.commands import BackfillAsk
from actors.names import ActorAway
from actors.reconcile_sides import Sides, sides_key, sides_row
from desk.clock import HOUR_MS, MINUTE_MS
from desk.market.gaps import GapEvent, GapStatus
from desk.runs import AuditEvent, JobStatus, Mode
from desk.store import kinds
from desk.store.port import Sample
from desk.trading import ledger as books
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.orders import VenuePosition
from tests.serve_apps.scene import NOW_MS, OPEN_MS, PAIR, WALL_MS, Scene, make_job, make_run, note


def mark(scene: Scene, price: str) -> None:
    before = scene.ledger()
    after = books.mark(before, {PAIR: Decimal(price)}, NOW_MS)
    scene.store.move_ledger(
        before, after, fence=scene.fence, request_id=f"mark-{price}", event=note(NOW_MS)
    )


def put_sides(scene: Scene) -> None:
    """A comparison of an account that holds nothing with a venue that does."""
    sides = Sides(
        ours=(),
        theirs=(),
        ledger=scene.ledger(),
        positions=(
            VenuePosition(
                pair=PAIR,
                quantity=Decimal("-0.5"),
                average_price=Decimal("40000.10"),
                leverage=1,
                unrealized_pnl=Decimal(3),
            ),
        ),
        traded=(),
    )
    scene.store.put(kinds.STATE, sides_key("paper"), sides_row(sides, {}, now_ms=5), at_ms=5)


def test_both_sides_of_an_account_are_shown_as_its_last_comparison_kept_them(
    scene: Scene, client: TestClient
) -> None:
    assert client.get("/ops/trading/reconcile").json()["items"] == []
    put_sides(scene)

    (account,) = client.get("/ops/trading/reconcile").json()["items"]

    assert (account["account"], account["compared_ms"], account["left_off"]) == ("paper", 5, 0)
    assert account["positions"] == [
        {
            "pair": PAIR,
            "ours": "0",
            "theirs": "-0.5",
            "our_price": None,
            "their_price": "40000.10",
            "differs": True,
        }
    ]


def test_the_latency_of_a_stage_is_not_mixed_into_the_total(
    scene: Scene, client: TestClient
) -> None:
    for stage, value in (("features", 1.0), ("policy", 4.0), ("total", 9.0)):
        sample = Sample(
            name="decision_latency_ms",
            value=value,
            unit="ms",
            recorded_at_ms=NOW_MS,
            tags={"stage": stage},
        )
        scene.store.record([sample])

    query = {"name": "decision_latency_ms", "stage": "policy"}
    series = client.get("/ops/trading/metrics", params=query).json()["items"][0]

    assert client.get("/ops/trading/summary").json()["decision_latency_p95_ms"] == 9.0
    assert (series["count"], series["p50"]) == (1, 4.0)


def samples(scene: Scene, name: str, *values: float, every_ms: int = 1_000) -> None:
    scene.store.record(
        [
            Sample(
                name=name,
                value=value,
                unit="ms",
                recorded_at_ms=NOW_MS - (len(values) - 1 - index) * every_ms,
                tags={},
            )
            for index, value in enumerate(values)
        ]
    )


def test_the_summary_says_where_it_trades_on_which_clock_and_with_what(
    scene: Scene, client: TestClient
) -> None:
    summary = client.get("/ops/trading/summary").json()

    assert (summary["mode"], summary["venue"]) == ("paper", "simulator 30x")
    assert (summary["speed"], summary["market_now_ms"]) == (30.0, NOW_MS)
    assert summary["baseline"] is True
    assert summary["api_token_set"] is False
    assert [account["account"] for account in summary["accounts"]] == ["paper"]


def test_equity_exposure_and_day_follow_the_marks(scene: Scene, client: TestClient) -> None:
    scene.fill(scene.send(scene.order()))
    mark(scene, "41004.0")

    account = client.get("/ops/trading/summary").json()["accounts"][0]

    assert Decimal(account["equity"]) == Decimal("10009.8")
    assert Decimal(account["day_pnl"]) == Decimal("9.8")
    assert Decimal(account["exposure"]) == Decimal("410.04")
    position = account["positions"][0]
    assert (position["side"], position["quantity"]) == ("buy", "0.0100")
    assert Decimal(position["unrealized_pnl"]) == 10
    assert position["baseline"] is True


def test_a_position_without_a_mark_has_no_value_instead_of_zero(
    scene: Scene, client: TestClient
) -> None:
    scene.fill(scene.send(scene.order()))

    position = client.get("/ops/trading/summary").json()["accounts"][0]["positions"][0]

    assert position["mark_price"] is None
    assert position["unrealized_pnl"] is None


def test_a_live_run_turns_the_mode_strip_to_live(scene: Scene, client: TestClient) -> None:
    run = replace(make_run("run-live"), mode=Mode.LIVE, account="live")
    scene.store.put(kinds.RUNS, run.run_id, run, at_ms=run.started_ms)

    assert client.get("/ops/trading/summary").json()["mode"] == "live"


def test_the_summary_counts_alerts_and_names_the_worst_source(
    scene: Scene, client: TestClient
) -> None:
    scene.alert("a", severity="critical")
    scene.alert("b", status="resolved")
    scene.source(last_event_ms=OPEN_MS)
    scene.source(last_event_ms=OPEN_MS - HOUR_MS, pair="ETH-USDT", status="stale")

    summary = client.get("/ops/trading/summary").json()

    assert summary["alerts_open"] == {"critical": 1, "warning": 0, "info": 0}
    assert summary["freshness"]["source"] == "bingx_candles:ETH-USDT:1m"
    assert summary["freshness"]["status"] == "stale"


def test_without_decisions_there_is_no_latency_rather_than_none_at_all(
    scene: Scene, client: TestClient
) -> None:
    assert client.get("/ops/trading/summary").json()["decision_latency_p95_ms"] is None

    samples(scene, "decision_latency_ms", *range(1, 101), every_ms=10)

    latency = client.get("/ops/trading/summary").json()["decision_latency_p95_ms"]
    assert latency == pytest.approx(95.05)


def test_guardrails_count_what_is_reserved_and_show_the_breaker(
    scene: Scene, client: TestClient
) -> None:
    scene.order()
    breaker = Breaker(
        account="paper",
        state=BreakerState.COOLDOWN,
        cooldown_until_ms=NOW_MS + HOUR_MS,
        trigger_reason="max_daily_loss",
    )
    scene.store.put(kinds.BREAKERS, "paper", breaker, at_ms=NOW_MS)

    account = client.get("/ops/trading/risk").json()["accounts"][0]

    assert (account["state"], account["trigger_reason"]) == ("cooldown", "max_daily_loss")
    assert account["cooldown_until_ms"] == NOW_MS + HOUR_MS
    assert account["reserved"] == "400"
    caps = {cap["name"]: cap for cap in account["caps"]}
    assert Decimal(caps["max_total_exposure"]["used"]) == Decimal("0.04")
    assert not any(cap["breached"] for cap in account["caps"])


def test_a_loss_at_its_cap_is_a_breach(scene: Scene, client: TestClient) -> None:
    scene.fill(scene.send(scene.order(quantity=Decimal("0.5"))))
    mark(scene, "38000.0")

    account = client.get("/ops/trading/risk").json()["accounts"][0]

    breached = {cap["name"] for cap in account["caps"] if cap["breached"]}
    assert {"max_daily_loss", "max_total_exposure"} <= breached


def test_metrics_come_in_buckets_with_their_quantiles(scene: Scene, client: TestClient) -> None:
    samples(scene, "slippage_bps", 1.0, 2.0, 3.0, 4.0, every_ms=30_000)

    query = {"name": "slippage_bps", "step_ms": 60_000}
    series = client.get("/ops/trading/metrics", params=query).json()["items"][0]

    assert series["count"] == 4
    assert sum(point["count"] for point in series["points"]) == 4
    assert all(point["t"] % 60_000 == 0 for point in series["points"])
    assert series["p50"] == 2.5


def test_series_of_pairs_and_intervals_are_told_apart_when_asked(
    scene: Scene, client: TestClient
) -> None:
    for pair, interval, lag_s in (("B", "1m", 3.0), ("A", "1m", 1.0), ("A", "5m", 9.0)):
        sample = Sample(
            name="ingestion_lag_seconds",
            value=lag_s,
            unit="s",
            recorded_at_ms=NOW_MS,
            tags={"pair": pair, "interval": interval},
        )
        scene.store.record([sample])
    query = {"name": "ingestion_lag_seconds"}

    items = client.get("/ops/trading/metrics", params={**query, "by": "series"}).json()["items"]
    (together,) = client.get("/ops/trading/metrics", params=query).json()["items"]

    assert [(item["tags"]["pair"], item["tags"]["interval"], item["p95"]) for item in items] == [
        ("A", "1m", 1.0),
        ("A", "5m", 9.0),
        ("B", "1m", 3.0),
    ]
    assert (together["tags"], together["count"]) == ({}, 3)
    assert client.get("/ops/trading/metrics", params={"by": "pairs"}).status_code == 422


def test_metrics_without_a_name_are_those_the_desk_records(client: TestClient) -> None:
    items = client.get("/ops/trading/metrics").json()["items"]

    assert {item["name"] for item in items} >= {"decision_latency_ms", "slippage_bps"}
    assert all(item["p50"] is None for item in items)


def test_more_buckets_than_can_be_drawn_are_refused(client: TestClient) -> None:
    query = {"start_ms": 0, "end_ms": NOW_MS, "step_ms": 1_000}

    answer = client.get("/ops/trading/metrics", params=query)

    assert (answer.status_code, answer.json()["field"]) == (422, "step_ms")


def test_a_reconciliation_answers_its_counts(scene: Scene, client: TestClient) -> None:
    answer = client.post("/ops/trading/reconcile").json()

    assert answer == {"checked": 3, "updated": 1, "errors": 0, "reconciled_at_ms": NOW_MS}
    assert scene.desk.heard[0][1]["account"] is None


def test_an_unknown_account_cannot_be_reconciled(scene: Scene, client: TestClient) -> None:
    assert client.post("/ops/trading/reconcile", json={"account": "x"}).status_code == 422
    assert scene.desk.heard == []


def test_a_part_of_the_desk_that_is_away_is_503(scene: Scene, client: TestClient) -> None:
    scene.desk.refuse = ActorAway("reconciler:paper", "no answer in 10 s")

    answer = client.post("/ops/trading/reconcile")

    assert answer.status_code == 503
    assert "reconciler:paper" in answer.json()["detail"]


def test_a_timeout_is_503_with_an_unknown_outcome(scene: Scene, client: TestClient) -> None:
    scene.desk.refuse = TimeoutError()

    answer = client.post("/ops/trading/reconcile")

    assert answer.status_code == 503
    assert "outcome is unknown" in answer.json()["detail"]


def test_a_fault_of_ours_is_a_500_without_its_inner_text(scene: Scene, client: TestClient) -> None:
    scene.desk.refuse = RuntimeError("canary-secret in a message")

    answer = client.post("/ops/trading/reconcile")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "canary-secret" not in answer.text


def test_a_kill_shows_in_the_summary_and_can_be_lifted(scene: Scene, client: TestClient) -> None:
    answer = client.post("/ops/trading/kill", json={"reason": "smoke", "flatten": True})

    assert answer.json()["runs_stopped"] == 1
    assert scene.desk.heard[0][1]["flatten"] is True
    summary = client.get("/ops/trading/summary").json()
    assert summary["killed"] is True
    assert summary["accounts"][0]["kill_reason"] == "smoke"

    client.post("/ops/trading/kill", json={"on": False})
    assert client.get("/ops/trading/summary").json()["killed"] is False


def test_an_alert_is_acknowledged_once_and_on_record(scene: Scene, client: TestClient) -> None:
    scene.alert()

    first = client.post("/ops/alerts/late:BTC/ack").json()
    second = client.post("/ops/alerts/late:BTC/ack").json()

    assert first["status"] == second["status"] == "acknowledged"
    assert first["row_version"] == second["row_version"]
    audit = client.get("/ops/audit", params={"action": "alert."}).json()["items"]
    assert [(row["resource"], row["actor"]) for row in audit] == [("alert/late:BTC", "operator")]


def test_an_actor_that_dies_after_the_restart_of_the_store_was_acknowledged_is_its_own_incident(
    scene: Scene, client: TestClient
) -> None:
    def raised(code: str, about: str) -> None:
        scene.wall_ms += 1_000
        scene.alert(f"{code}:{about}", code=code, raised_wall_ms=scene.wall_ms)
        scene.wall_ms += 1_000

    def explained() -> dict[str, str]:
        rows = client.get("/ops/alerts").json()["items"]
        return {row["alert_id"]: row["explained_by"] for row in rows}

    raised("store_restarted", "store")
    raised("actor_restarted", "observer")
    assert explained()["actor_restarted:observer"] == "store_restarted:store"

    client.post("/ops/alerts/store_restarted:store/ack")
    raised("actor_restarted", "risk_ledger:paper")

    assert explained()["actor_restarted:observer"] == "store_restarted:store"
    assert explained()["actor_restarted:risk_ledger:paper"] == ""


def test_alerts_are_filtered_by_state_category_and_severity(
    scene: Scene, client: TestClient
) -> None:
    scene.alert("a", severity="critical", category="risk")
    scene.alert("b", status="resolved")

    def found(**query: str) -> list[str]:
        rows = client.get("/ops/alerts", params=query).json()["items"]
        return sorted(row["alert_id"] for row in rows)

    assert found() == ["a", "b"]
    assert found(status="open") == ["a"]
    assert found(category="data") == ["b"]
    assert found(severity="critical", status="resolved") == []
    assert client.get("/ops/alerts", params={"status": "new"}).status_code == 422


def test_the_audit_is_read_by_resource_and_time(scene: Scene, client: TestClient) -> None:
    for number in range(4):
        event = AuditEvent(
            audit_id=f"a{number}",
            actor="system",
            action="run.pause",
            resource=f"run/run-{number % 2}",
            at_ms=NOW_MS + number,
            before={"status": "running", "limit": Decimal("1.50")},
            after={"status": "paused"},
        )
        append_row(scene.store, event)

    query = {"resource": "run/run-1", "start_ms": NOW_MS + 2}
    rows = client.get("/ops/audit", params=query).json()["items"]

    assert [row["audit_id"] for row in rows] == ["a3"]
    assert rows[0]["before"]["limit"] == "1.50"


def test_actors_are_shown_with_the_age_of_their_heartbeat(scene: Scene, client: TestClient) -> None:
    scene.beat("risk_ledger:paper", age_ms=1_500)
    scene.beat("candle_poller:BTC-USDT")

    rows = client.get("/ops/actors").json()["items"]

    assert [(row["name"], row["heartbeat_age_ms"]) for row in rows] == [
        ("candle_poller:BTC-USDT", 0),
        ("risk_ledger:paper", 1_500),
    ]


def gap(number: int, status: GapStatus, pair: str = PAIR) -> GapEvent:
    return GapEvent(
        gap_id=f"g{number}",
        pair=pair,
        interval="1m",
        source_type="bingx_candles",
        start_ms=number * MINUTE_MS,
        end_ms=(number + 4) * MINUTE_MS,
        missing_points=5,
        status=status,
        detected_ms=number,
    )


def test_gaps_are_counted_by_state_and_only_waiting_ones_as_missing(
    scene: Scene, client: TestClient
) -> None:
    states = [GapStatus.OPEN, GapStatus.HEALING, GapStatus.RESOLVED, GapStatus.ABSENT_AT_VENUE]
    for number, status in enumerate(states):
        scene.store.put(kinds.GAPS, f"g{number}", gap(number, status), at_ms=number)
    other = gap(9, GapStatus.OPEN, "ETH-USDT")
    scene.store.put(kinds.GAPS, "g9", other, at_ms=9)

    health = client.get("/ops/gaps/health", params={"pair": PAIR, "limit": 2}).json()

    assert (health["status"], health["open"], health["resolved"]) == ("gaps", 1, 1)
    assert health["missing_points"] == 10
    assert [row["gap_id"] for row in health["items"]] == ["g3", "g2"]
    assert health["next_cursor"] is not None


def test_gaps_that_were_never_looked_for_are_not_called_none(client: TestClient) -> None:
    assert client.get("/ops/gaps/health").json()["status"] == "never_scanned"


@pytest.mark.parametrize(
    ("age_ms", "change", "shown"),
    [
        (10_000, {}, ("ok", "ok")),
        (100_000, {}, ("ok", "late")),
        (HOUR_MS, {}, ("stale", "stale")),
        (10_000, {"enabled": False}, ("ok", "disabled")),
        (10_000, {"status": "unavailable"}, ("unavailable", "stale")),
    ],
)
def test_a_source_is_judged_now_not_when_it_was_written(
    scene: Scene,
    client: TestClient,
    age_ms: int,
    change: dict[str, object],
    shown: tuple[str, str],
) -> None:
    scene.source(last_event_ms=NOW_MS - age_ms, **change)

    row = client.get("/data-sources/status").json()["items"][0]

    assert (row["status"], row["badge"], row["age_ms"]) == (*shown, age_ms)


def test_a_source_that_never_spoke_has_no_age(scene: Scene, client: TestClient) -> None:
    scene.source(last_event_ms=0, status="unavailable")

    row = client.get("/data-sources/status").json()["items"][0]

    assert (row["badge"], row["age_ms"]) == ("never", None)


BACKFILLS = ["/data-sources/backfill", "/ops/ingestion/bingx/backfill", "/ingestion/bingx/backfill"]


@pytest.mark.parametrize("path", BACKFILLS)
def test_every_backfill_route_is_the_same_command(
    scene: Scene, client: TestClient, path: str
) -> None:
    body = {"pair": "btc-usdt", "start_ms": 60_000, "max_batches": 3}

    answer = client.post(path, json=body)

    assert answer.status_code == 202
    assert answer.json()["job_id"] == "job-new"
    asked = BackfillAsk(pair=PAIR, interval="1m", start_ms=60_000, max_batches=3)
    assert scene.desk.heard[0][1]["ask"] == asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "pair"),
        ({"pair": PAIR, "interval": "7m"}, "interval"),
        ({"pair": PAIR, "start_ms": 9, "end_ms": 9}, "start_ms"),
        ({"pair": PAIR, "max_batches": 0}, "max_batches"),
    ],
)
def test_a_backfill_as_it_may_not_be_names_the_field(
    scene: Scene, client: TestClient, body: dict[str, object], field: str
) -> None:
    answer = client.post("/data-sources/backfill", json=body)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert scene.desk.heard == []


def test_a_job_shows_its_share_done_and_none_when_the_total_is_unknown(
    scene: Scene, client: TestClient
) -> None:
    scene.store.put(kinds.JOBS, "j1", make_job("j1", 1), at_ms=1)
    scene.store.put(kinds.JOBS, "j2", make_job("j2", 1, total=0), at_ms=1)

    assert client.get("/jobs/j1").json()["fraction"] == 0.25
    assert client.get("/jobs/j2").json()["fraction"] is None
    assert client.get("/jobs/none").status_code == 404


def test_a_cancelled_job_stays_cancelled_and_a_done_one_done(
    scene: Scene, client: TestClient
) -> None:
    scene.store.put(kinds.JOBS, "j1", make_job("j1", 1), at_ms=1)
    scene.store.put(kinds.JOBS, "j2", make_job("j2", 1, status=JobStatus.DONE), at_ms=1)

    assert client.post("/jobs/j1/cancel").json()["status"] == "cancelled"
    assert client.post("/jobs/j2/cancel").json()["status"] == "done"
    audit = client.get("/ops/audit").json()["items"]
    assert [row["resource"] for row in audit] == ["job/j1"]


def test_a_paused_job_goes_on_once_it_is_resumed(scene: Scene, client: TestClient) -> None:
    scene.store.put(kinds.JOBS, "j1", make_job("j1", 1), at_ms=1)

    statuses = [client.post(f"/jobs/j1/{wish}").json()["status"] for wish in ("pause", "resume")]

    assert statuses == ["paused", "queued"]
    assert scene.desk.heard == [("take_up", {"job_id": "j1"})]
    actions = [row["action"] for row in client.get("/ops/audit").json()["items"]]
    assert sorted(actions) == ["job.pause", "job.resume"]


def test_a_paused_job_that_is_cancelled_leaves_nothing_behind(
    scene: Scene, client: TestClient
) -> None:
    scene.store.put(kinds.JOBS, "j1", make_job("j1", 1, kind="training"), at_ms=1)

    client.post("/jobs/j1/pause")
    client.post("/jobs/j1/cancel")

    assert scene.desk.heard == [("put_away", {"job_id": "j1"})]


def test_a_job_that_cannot_go_on_later_is_not_paused(scene: Scene, client: TestClient) -> None:
    scene.store.put(kinds.JOBS, "j1", make_job("j1", 1, kind="evaluation"), at_ms=1)
    scene.store.put(kinds.JOBS, "j2", make_job("j2", 1, status=JobStatus.DONE), at_ms=1)

    answers = [client.post(f"/jobs/{name}/pause") for name in ("j1", "j2")]

    assert [answer.status_code for answer in answers] == [422, 409]
    assert "cancel it" in answers[0].json()["detail"]


@pytest.mark.parametrize("source", ["telegram", "tradingview"])
def test_a_source_without_history_says_what_to_do_instead(
    scene: Scene, client: TestClient, source: str
) -> None:
    answer = client.post(f"/ops/ingestion/{source}/backfill")

    assert (answer.status_code, answer.json()["field"]) == (422, "source")
    assert scene.desk.heard == []


def test_limit_sets_are_listed_with_money_as_text(client: TestClient) -> None:
    row = client.get("/risk-limits").json()["items"][0]

    assert (row["set_id"], row["max_position_size"], row["active"]) == ("default", "1000", True)


def test_health_is_ok_while_store_actors_clock_and_pages_are(
    scene: Scene, client: TestClient
) -> None:
    scene.beat()

    view = client.get("/healthz").json()

    failed = [check["name"] for check in view["checks"] if not check["ok"]]
    assert (view["status"], failed) == ("degraded", ["pages"])


def test_a_late_actor_and_an_old_clock_degrade_health(scene: Scene, client: TestClient) -> None:
    scene.beat("risk_ledger:paper", age_ms=60_000)
    scene.wall_ms = WALL_MS + 61_000

    answer = client.get("/healthz")

    failed = {
        check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]
    }
    assert answer.status_code == 200
    assert failed["actors"] == "late: risk_ledger:paper"
    assert "venue_clock" in failed


def test_prometheus_gets_the_facts_of_the_store(scene: Scene, client: TestClient) -> None:
    scene.beat("supervisor", age_ms=2_000)
    scene.fill(scene.send(scene.order()))
    samples(scene, "decision_latency_ms", 5.0, 7.0)

    answer = client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'desk_equity_usdt{account="paper"} 9999.8' in lines
    assert 'desk_runs{mode="paper",status="running"} 1.0' in lines
    assert 'desk_actor_heartbeat_age_seconds{role="supervisor"} 2.0' in lines


@pytest.mark.parametrize("path", ["/ops/trading/metrics", "/trades", "/ops/alerts", "/events"])
def test_a_parameter_that_is_given_twice_is_refused_by_name(client: TestClient, path: str) -> None:
    name = "topics" if path == "/events" else "end_ms" if "metrics" in path else "limit"
    answer = client.get(path, params=[(name, "5"), (name, "7")])

    assert answer.status_code == 422
    assert answer.json()["field"] == name


def test_a_list_may_be_given_value_by_value(client: TestClient) -> None:
    names = ["decision_latency_ms", "slippage_bps"]
    answer = client.get("/ops/trading/metrics", params=[("name", each) for each in names])

    assert [item["name"] for item in answer.json()["items"]] == names


def test_the_kill_form_takes_each_field_once_and_an_empty_key_as_none(
    client: TestClient, scene: Scene
) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    twice = client.post("/ops/trading/kill", content="reason=a&reason=b", headers=kind)
    empty = client.post(
        "/ops/trading/kill",
        content="reason=a&idempotency_key=",
        headers=kind,
        follow_redirects=False,
    )

    long = client.post(
        "/ops/trading/kill",
        content=f"idempotency_key={'k' * 300}",
        headers=kind | {"idempotency-key": "another"},
    )

    assert (twice.status_code, twice.json()["field"]) == (422, "reason")
    assert (long.status_code, long.json()["field"]) == (422, "idempotency_key")
    assert empty.status_code == 303
    assert len(scene.desk.heard) == 1
