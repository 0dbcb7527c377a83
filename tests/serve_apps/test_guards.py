"""Who is let in: every route of the description, hosts, cookies, and pages from elsewhere."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import serve_apps
from desk.store import kinds
from serve_apps.routes.login import FAILURES_PER_MINUTE, MAX_ADDRESSES, FailedLogins
from serve_apps.sessions import ABSOLUTE_MS, COOKIE, IDLE_MS, Logins
from tests.serve_apps.scene import HERE, NOW_MS, TOKEN, WALL_MS, Scene, make_job, make_scene

BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECURE = "https://127.0.0.1:8000"
OPEN = {"/healthz", "/login", "/webhooks/tradingview/desk"}
"""The webhook asks for its own feed token (tests/serve_apps/test_signals.py)."""
PAGES = ["/", "/rl-agent", "/rl-evaluations", "/rl-data-sources", "/rl-ops", "/ingestion"]


def routes() -> Iterator[tuple[str, str]]:
    """Every method and path of the description, with its parameters filled in."""
    for path, operations in make_scene().app().openapi()["paths"].items():
        for method in operations:
            yield method.upper(), re.sub(r"\{(\w+)\}", "desk", path)


ROUTES = sorted(routes())


WRITES = [(method, path) for method, path in ROUTES if method != "GET" and path not in OPEN]
SECRET_WORDS = re.compile(r"token\b|secret\b|password|csrf|\bmac\b|signature", re.IGNORECASE)


def login(
    client: TestClient, password: str = TOKEN, headers: dict[str, str] | None = None, **form: str
) -> Any:
    return client.post("/login", data={"password": password, **form}, headers=headers)


def client_from(app: FastAPI, host: str) -> TestClient:
    return TestClient(app, base_url=SECURE, client=(host, 1), follow_redirects=False)


def csrf_of(client: TestClient) -> str:
    nonce = client.cookies[COOKIE].split(".")[2]
    return Logins(TOKEN).csrf(nonce)


def test_the_description_lists_the_contract_routes() -> None:
    assert len(ROUTES) > 35
    assert ("POST", "/ops/trading/kill") in ROUTES
    assert ("GET", "/events") in ROUTES


@pytest.mark.catalogue("S01")
@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[1] not in OPEN])
def test_every_route_but_the_open_ones_asks_for_a_token(
    guarded: TestClient, scene: Scene, method: str, path: str
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = guarded.request(method, path, headers=headers)

        assert answer.status_code == 401
        assert answer.json()["title"] == "A token is required"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "content-security-policy" in answer.headers
    assert scene.desk.heard == []


@pytest.mark.parametrize(
    "path",
    [
        "//agents",
        "/agents/",
        "/docs",
        "/openapi.json",
        "/redoc",
        "/nowhere",
        "/healthz/",
        "/HEALTHZ",
    ],
)
def test_unknown_and_crooked_paths_ask_for_a_token_too(guarded: TestClient, path: str) -> None:
    assert guarded.get(f"{SECURE}{path}").status_code == 401


@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_a_login_leads_to_the_login(guarded: TestClient, path: str) -> None:
    answer = guarded.get(f"{path}?pair=BTC-USDT")

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=%2F")


def test_health_and_the_login_page_need_no_token(guarded: TestClient) -> None:
    assert guarded.get("/healthz").status_code in {200, 503}
    assert guarded.get("/login").status_code == 200


@pytest.mark.catalogue("S02")
def test_regression_14_role_headers_open_nothing(guarded: TestClient, scene: Scene) -> None:
    claims = {"X-Ops-Role": "admin", "X-Operator-Role": "admin", "X-Actor": "root"}

    for method, path in WRITES:
        assert guarded.request(method, path, headers=claims).status_code == 401, path
    assert scene.desk.heard == []
    for method, path in WRITES:
        guarded.request(method, path, headers=claims | BEARER, json={})
    assert guarded.post("/ops/trading/kill", headers=claims | BEARER).status_code == 200
    actors = [given["actor"] for _, given in scene.desk.heard if "actor" in given]
    assert len(actors) > 3
    assert set(actors) == {"operator"}


@pytest.mark.catalogue("S03")
def test_secrets_are_compared_in_constant_time() -> None:
    assert "hmac.compare_digest" in inspect.getsource(Logins.matches)
    compared = list(plain_comparisons(Path(serve_apps.__file__).parent))
    assert not [text for text in compared if SECRET_WORDS.search(text)]
    assert any("status_code" in text for text in compared), "the search sees comparisons at all"


def plain_comparisons(folder: Path) -> Iterator[str]:
    """Every comparison of the sources but `is`: they end at the first letter that differs."""
    for path in folder.rglob("*.py"):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Compare) and not isinstance(node.ops[0], ast.Is | ast.IsNot):
                yield ast.get_source_segment(source, node) or ""


def test_the_bearer_token_opens_every_reading_route(guarded: TestClient) -> None:
    for method, path in ROUTES:
        if method == "GET" and path not in {"/events", *OPEN}:
            assert guarded.get(path, headers=BEARER).status_code in {200, 404, 422}, path


def test_a_login_sets_a_cookie_that_only_this_host_gets_over_tls(guarded: TestClient) -> None:
    answer = login(guarded, next="/insights?pair=BTC-USDT")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/insights?pair=BTC-USDT"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-sid=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert guarded.get("/agents").status_code == 200


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/rl-ops", "//evil.example", "/trades", "javascript:alert(1)", "", "//[x"],
)
def test_a_login_never_leads_to_another_site(guarded: TestClient, target: str) -> None:
    assert login(guarded, next=target).headers["location"] == "/rl-ops"


def test_a_wrong_password_gets_no_cookie_and_the_page_repeats_nothing(guarded: TestClient) -> None:
    answer = login(guarded, "canary-secret", next='"><script>')

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "canary-secret" not in answer.text
    assert "<script>" not in answer.text


def test_five_wrong_passwords_lock_the_form_and_raise_an_alert(
    guarded: TestClient, scene: Scene
) -> None:
    for _ in range(5):
        login(guarded, "wrong")

    answer = login(guarded)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert [doc.value.code for doc in scene.store.list(kinds.ALERTS)] == ["login_failures"]


def test_wrong_passwords_from_one_address_lock_nobody_else_out(scene: Scene) -> None:
    app = scene.app(token=TOKEN, proxies=("10.0.0.0/24",))
    for number in range(6):
        with client_from(app, f"2001:db8::{number}") as attacker:
            answer = login(attacker, "wrong")
        assert answer.status_code == (401 if number < 5 else 429), "one customer, many addresses"
    with client_from(app, "10.0.0.7") as proxied:
        for _ in range(5):
            login(proxied, "wrong", headers={"X-Forwarded-For": "203.0.113.5"})
        locked = login(proxied, headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.5"})
        other = login(proxied, headers={"X-Forwarded-For": "203.0.113.5, 198.51.100.1"})

    assert (locked.status_code, other.status_code) == (429, 303)


def test_the_book_of_failed_logins_is_bounded() -> None:
    book = FailedLogins()

    for number in range(MAX_ADDRESSES * 2):
        book.note(f"198.51.100.{number}")
    for _ in range(1_000):
        book.note("203.0.113.5")

    assert len(book) == MAX_ADDRESSES
    assert book.recent("203.0.113.5") == FAILURES_PER_MINUTE + 1
    assert book.recent("198.51.100.0") == 0


@pytest.mark.catalogue("S04")
def test_a_cookie_alone_never_writes(guarded: TestClient, scene: Scene) -> None:
    login(guarded)

    for headers in ({}, {"X-CSRF-Token": "0" * 64}):
        for method, path in WRITES:
            assert guarded.request(method, path, headers=headers).status_code == 403, path
    assert scene.desk.heard == []


@pytest.mark.catalogue("S04")
def test_without_a_token_nobody_elsewhere_writes(scene: Scene) -> None:
    with client_from(scene.app(), "10.0.0.7") as stranger:
        for method, path in WRITES:
            assert stranger.request(method, path).status_code == 403, path
    assert scene.desk.heard == []


def test_a_cookie_with_its_csrf_token_writes(guarded: TestClient) -> None:
    login(guarded)

    answer = guarded.post("/agents/desk/pause", headers={"X-CSRF-Token": csrf_of(guarded)})

    assert answer.status_code == 200


@pytest.mark.catalogue("S04")
@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_page_elsewhere_cannot_write_even_with_the_tokens(
    guarded: TestClient, headers: dict[str, str]
) -> None:
    login(guarded)

    answer = guarded.post(
        "/agents/desk/pause", headers=headers | {"X-CSRF-Token": csrf_of(guarded)}
    )

    assert answer.status_code == 403


FORM_OF_OURS = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
"""What Chromium sends with a plain form of a page that has `Referrer-Policy: no-referrer`."""


def test_a_plain_form_of_ours_hides_its_origin_and_is_taken(guarded: TestClient) -> None:
    logged_in = guarded.post(
        "/login", data={"password": TOKEN}, headers=FORM_OF_OURS, follow_redirects=False
    )

    assert logged_in.status_code == 303
    assert "__Host-sid" in logged_in.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "none"},
    ],
)
def test_without_a_token_a_page_elsewhere_cannot_write_either(
    client: TestClient, scene: Scene, headers: dict[str, str]
) -> None:
    assert client.post("/ops/trading/kill", headers=headers).status_code == 403
    assert scene.desk.heard == []


@pytest.mark.catalogue("S04")
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example"]
)
def test_a_foreign_host_name_is_misdirected(client: TestClient, host: str) -> None:
    assert client.get("/agents", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "10.0.0.7:8000"])
def test_our_own_addresses_are_known(client: TestClient, host: str) -> None:
    assert client.get("/agents", headers={"Host": host}).status_code == 200


def test_regression_14_without_a_token_only_this_machine_is_served(scene: Scene) -> None:
    app = scene.app()

    for host, status in (("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 403), ("unknown", 403)):
        with TestClient(app, base_url=HERE, client=(host, 1)) as client:
            assert client.get("/agents").status_code == status


def test_a_login_ends_after_its_idle_time_and_renews_while_it_is_used(
    guarded: TestClient, scene: Scene
) -> None:
    login(guarded)
    scene.wall_ms = WALL_MS + IDLE_MS - 1
    renewed = guarded.get("/agents")
    assert renewed.status_code == 200
    assert COOKIE in renewed.headers["set-cookie"]

    scene.wall_ms += IDLE_MS - 1
    assert guarded.get("/agents").status_code == 200
    scene.wall_ms += IDLE_MS + 1
    assert guarded.get("/agents").status_code == 401


def test_a_login_ends_after_twelve_hours_however_busy(guarded: TestClient, scene: Scene) -> None:
    login(guarded)
    while scene.wall_ms < WALL_MS + ABSOLUTE_MS - 1:
        scene.wall_ms = min(scene.wall_ms + IDLE_MS // 2, WALL_MS + ABSOLUTE_MS - 1)
        assert guarded.get("/agents").status_code == 200

    scene.wall_ms = WALL_MS + ABSOLUTE_MS

    assert guarded.get("/agents").status_code == 401


@pytest.mark.parametrize(
    "value", ["", "x", "1.2.3.4", "9999999999999.9999999999999.n.0", "a.b.c.d"]
)
def test_a_forged_cookie_is_no_login(scene: Scene, value: str) -> None:
    with TestClient(scene.app(token=TOKEN), base_url=SECURE) as client:
        assert client.get("/agents", headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401


def test_a_new_token_ends_every_login() -> None:
    cookie = Logins("old-token").issue(WALL_MS).split(";")[0].split("=", 1)[1]

    assert Logins("old-token").read(cookie, WALL_MS) is not None
    assert Logins("new-token").read(cookie, WALL_MS) is None


def test_logging_out_takes_the_cookie_away(guarded: TestClient) -> None:
    login(guarded)

    answer = guarded.post("/logout", data={"csrf": csrf_of(guarded)})

    assert answer.headers["location"] == "/login"
    assert "Max-Age=0" in answer.headers["set-cookie"]


def test_the_kill_form_works_without_javascript(guarded: TestClient, scene: Scene) -> None:
    login(guarded)

    answer = guarded.post(
        "/ops/trading/kill",
        data={"csrf": csrf_of(guarded), "reason": "smoke", "idempotency_key": "k1"},
    )

    assert answer.status_code == 303
    assert answer.headers["location"] == "/rl-ops"
    assert scene.desk.heard[0][1]["reason"] == "smoke"


def test_the_kill_form_without_its_csrf_field_is_refused(guarded: TestClient, scene: Scene) -> None:
    login(guarded)

    assert guarded.post("/ops/trading/kill", data={"reason": "smoke"}).status_code == 403
    assert scene.desk.heard == []


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/agents", "/nowhere", "/healthz", "/login"):
        headers = client.get(path, follow_redirects=False).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


@pytest.mark.catalogue("S09")
def test_a_body_above_a_megabyte_is_413_before_anything_acts(
    client: TestClient, scene: Scene
) -> None:
    answer = client.post("/agents/desk/pause", content=b"x" * (1 << 20) + b"x")

    assert answer.status_code == 413
    assert scene.desk.heard == []


@pytest.mark.catalogue("S09")
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"{", b"null,"])
def test_a_hostile_body_is_a_problem_never_a_500(client: TestClient, body: bytes) -> None:
    for path in ("/agents/desk/start", "/ops/trading/kill", "/trades/x/close"):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, path
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.catalogue("S07")
def test_the_token_appears_in_no_answer(guarded: TestClient, scene: Scene) -> None:
    job = make_job("desk", NOW_MS)
    scene.store.put(kinds.JOBS, "desk", job, at_ms=NOW_MS)
    for method, path in ROUTES:
        if path != "/events":
            answer = guarded.request(method, path, headers=BEARER)
            assert TOKEN not in answer.text
            assert TOKEN not in str(answer.headers)
