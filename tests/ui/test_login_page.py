"""Logging in and out by the pages, with a real cookie."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from desk.runs import Agent
from desk.store import kinds
from desk.store.memory import MemoryStore
from tests.ui.conftest import NOW_MS, PAIR, FakeDesk, Served, serve

pytestmark = [pytest.mark.browser, pytest.mark.allow_console("401")]
TOKEN = "a-token-of-24-characters-or-more"


@pytest.fixture
def served() -> Iterator[Served]:
    """An empty desk behind a token."""
    store = MemoryStore()
    agent = Agent(agent_id="desk", name="desk", allowed_instruments=(PAIR,))
    store.put(kinds.AGENTS, "desk", agent, at_ms=NOW_MS)
    desk = FakeDesk(store)
    with serve(store, desk, token=TOKEN) as url:
        yield Served(url=url, store=store, desk=desk)


def log_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("API token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_signing_out_ends_the_session_and_the_pages_ask_again(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/rl-ops?tab=audit")
    page.wait_for_url("**/login?next=*")
    log_in(page)
    page.wait_for_url("**/rl-ops?tab=audit")
    expect(page.get_by_test_id("stream")).to_contain_text("live")

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login*")
    page.goto(f"{served.url}/insights")

    page.wait_for_url("**/login?next=*")
    assert page.context.cookies() == []


def test_a_wrong_token_is_refused_in_words_and_opens_nothing(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/login")

    log_in(page, "wrong")

    expect(page.get_by_role("alert")).not_to_be_empty()
    assert page.context.cookies() == []


def test_a_link_from_elsewhere_goes_on_where_it_was_meant_to(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/login?next=/ingestion")
    log_in(page)
    page.wait_for_url("**/ingestion")
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    cookies = page.context.cookies()
    page.goto("about:blank")  # without its cookie the page would go to the login by itself, too
    page.context.clear_cookies()
    page.goto(f"{served.url}/login?next=/ingestion")
    # As a strict cookie that a link from elsewhere did not send.
    page.context.add_cookies(cookies)  # pyright: ignore[reportArgumentType] - what it gave itself

    page.get_by_role("link", name="Continue").click()

    page.wait_for_url("**/ingestion")
    expect(page.get_by_test_id("stream")).to_contain_text("live")
