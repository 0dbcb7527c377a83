"""What every route works with: the desk's commands, the store, the clock, and a few plain facts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, cast

from fastapi import Depends, Header, Request
from pydantic import SecretStr

from actors.parts.foundation import read_anchor
from desk.clock import Clock, ClockAnchor
from desk.errors import VersionConflict
from desk.ids import Pair
from desk.learning.cycles import LearningWindow
from desk.market.interval import Interval
from desk.store.decision_history import DecisionHistory
from desk.store.evaluation_files import EvaluationFiles
from desk.store.places import Home
from desk.store.port import Store
from desk.store.signals import Archive
from serve_apps.addresses import Network
from serve_apps.candle_pages import CandleReader
from serve_apps.desk_port import Desk, Learning
from serve_apps.events import EventHub
from serve_apps.ingestion_settings import SettingFact
from serve_apps.problems import trace_id_of
from serve_apps.sessions import session_of
from serve_apps.sse import StreamTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    """Who may send alerts. Tokens only as SHA-256; the secret is kept out of every repr."""

    token_hashes: tuple[tuple[str, str], ...] = ()
    """Source and hash; two of one source while a token is being replaced."""
    secret: SecretStr | None = None
    cidrs: tuple[str, ...] = ()

    @property
    def secret_text(self) -> str | None:
        """What `secret` in an alert's body must be; None: nothing is asked for."""
        return self.secret.get_secret_value() if self.secret else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiFacts:
    """Plain settings that the routes need."""

    venue: str
    """`simulator 30x`, `vst`, `live` or the URL."""
    api_token_set: bool
    pairs: tuple[Pair, ...]
    intervals: tuple[Interval, ...]
    accounts: tuple[str, ...] = ("paper", "live")
    leverage: Decimal = Decimal(1)
    """At which positions are opened."""
    min_liquidation_buffer_bps: Decimal = Decimal(50)
    server_version: str = "0.1.0"
    feeds: Feeds = field(default_factory=Feeds)
    proxies: tuple[Network, ...] = ()
    """Networks of the proxies whose `X-Forwarded-For` counts."""
    signal_sources: tuple[tuple[str, str], ...] = ()
    """Type and id of each configured source of signals."""
    ingestion: tuple[SettingFact, ...] = ()
    learning: LearningWindow = field(default_factory=LearningWindow)
    learning_enabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Collaborators of one API process."""

    desk: Desk
    learning: Learning
    store: Store
    candles: CandleReader
    clock: Clock
    hub: EventHub
    facts: ApiFacts
    wall_ms: Callable[[], int]
    home: Home | None = None
    """Where the artifacts are; without it no decision is replayed."""
    archive: Archive | None = None
    """Receipts of signals that left the store; None where none ever do."""
    decisions: DecisionHistory
    """Those of the store and those that left it."""
    stream_times: StreamTimes = field(default_factory=StreamTimes)
    evaluations: EvaluationFiles | None = None
    """Curves and trades of evaluations; None where there is no home folder."""
    ui_problem: str = ""
    """Why the pages cannot be served; empty when they can."""

    def anchor(self) -> ClockAnchor | None:
        """The newest reading of the venue's clock, or None before the first."""
        return read_anchor(self.store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, under which trace id, and which row version they saw (`If-Match`)."""

    actor: str
    trace_id: str
    expected_version: int | None
    by_cookie: bool = False
    """Logged in on the pages: what raises risk needs a confirmation even where scripts need none."""

    def expect(self, key: str, found: int) -> None:
        """Raise `VersionConflict` if the row moved on since the caller saw it."""
        if self.expected_version is not None and self.expected_version != found:
            raise VersionConflict(key, self.expected_version, found)


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


def _caller(request: Request) -> Caller:
    session = session_of(request.scope)
    return Caller(
        actor=session.actor if session else "operator",
        trace_id=trace_id_of(request.scope),
        expected_version=None,
        by_cookie=session is not None and session.authenticated_by == "cookie",
    )


def _versioned_caller(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            pattern=r'^(\*|(W/)?"?[0-9]{1,18}"?)$',
            max_length=40,
            examples=['"3"'],
            description="The `ETag` (or `row_version`) that was seen; 412 if the row moved on.",
        ),
    ] = None,
) -> Caller:
    tag = (if_match or "").removeprefix("W/").strip('"')
    return replace(_caller(request), expected_version=int(tag) if tag.isdecimal() else None)


Ctx = Annotated[Context, Depends(_context)]
By = Annotated[Caller, Depends(_caller)]
ByVersion = Annotated[Caller, Depends(_versioned_caller)]
"""The caller of a write that `If-Match` makes conditional."""
