"""The kinds of documents in the store, each with the type it holds."""

from typing import Any

from desk.alert_queue import Outbox
from desk.confirmations import Confirmation
from desk.evaluation.drift import Profile
from desk.evaluation.report import EvaluationReport
from desk.ids import Pair
from desk.learning.cycles import LearningCycle, ShadowDecision
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion
from desk.market.bar_closes import PairCloses
from desk.market.feature_sets import FeatureSetRecord
from desk.market.feed_readings import FeedReading
from desk.market.gaps import GapEvent
from desk.market.ingestion import IngestionRun
from desk.market.interval import Interval
from desk.market.quality import IntakeTally
from desk.market.quarantine import QuarantinedRow
from desk.market.retries import RetryItem
from desk.market.revisions import CandleRevision
from desk.market.signals import SignalReceipt
from desk.runs import (
    ActorStatus,
    Agent,
    Alert,
    AuditEvent,
    DecisionRecord,
    Job,
    Run,
    SourceStatus,
)
from desk.store.port import Kind
from desk.trading.breaker import Breaker
from desk.trading.instruments import Instrument
from desk.trading.risk import AccountPolicy, RiskLimitSet
from desk.trading.venue_health import VenueHealth
from desk.venues.port import (
    FundingRate,
    MarkPrice,
    OpenInterest,
    OrderBook,
    RecentTrades,
    Ticker,
)

AGENTS = Kind(name="agent", type=Agent)
RUNS = Kind(name="run", type=Run)
DECISIONS = Kind(name="dec", type=DecisionRecord)
"""Key: decision id. Earlier releases kept each decision here too; `decisions_of_run(run_id)` has them."""
VERSIONS = Kind(name="version", type=AgentVersion)
EVALUATIONS = Kind(name="evaluation", type=EvaluationReport)
COMPARISONS = Kind(name="comparison", type=EvaluationReport)
"""Evaluations that only compare two versions: no promotion gate looks at them."""
LEARNING_CYCLES = Kind(name="cycle", type=LearningCycle)
"""Key: cycle id; by when they began. The history of continuous learning."""
DRIFT_PROFILES = Kind(name="driftprofile", type=Profile)
"""Key: `{version_id}:{pair}`. What the version does on its own candles."""
DATASETS = Kind(name="dataset", type=Dataset)
"""Immutable: what a training or an evaluation looked at."""
FEATURE_SETS = Kind(name="featureset", type=FeatureSetRecord)
"""Key: feature set id, the hash of the definition. Immutable."""
RISK_LIMITS = Kind(name="risk", type=RiskLimitSet)
ACCOUNT_POLICIES = Kind(name="riskpolicy", type=AccountPolicy)
BREAKERS = Kind(name="breaker", type=Breaker)
"""Key: account."""
VENUES = Kind(name="venue", type=VenueHealth)
"""Key: account. Written by its reconciler where the account trades on an exchange."""
CONFIRMATIONS = Kind(name="confirmation", type=Confirmation)
"""Key: the public part of the token. Single use; wall times."""
ALERTS = Kind(name="alert", type=Alert)
AUDIT = Kind(name="audit_row", type=AuditEvent)
"""Key: `layout.audit_key(seq)`. Written by `append_audit` alone."""
UNCHAINED_AUDIT = Kind(name="audit", type=AuditEvent)
"""Rows of releases before the chain, until the keeper of the audit has put them into it."""
ALERT_OUTBOXES = Kind(name="alertoutbox", type=Outbox)
"""Key: channel, `webhook` or `telegram`. Written by the observer alone."""
JOBS = Kind(name="job", type=Job)
GAPS = Kind(name="gap", type=GapEvent)
INGESTION = Kind(name="ingestion", type=IngestionRun)
"""Key: run id; by when they began. At most `ingestion_log.KEPT`."""
SOURCES = Kind(name="source", type=SourceStatus)
"""Key: `{source_type}:{pair}:{interval}`."""
INTAKE = Kind(name="intake", type=IntakeTally)
"""Key: `{pair}:{interval}`. Written by the pair's poller: what came in lately."""
FEED_READINGS = Kind(name="feedreading", type=FeedReading)
"""Key: source id of a push feed. Written by its sync alone."""
BAR_CLOSES = Kind(name="barcloses", type=PairCloses)
"""Key: pair. Closes of bars as other feeds saw them."""
RETRIES = Kind(name="retry", type=RetryItem)
"""Key: item id, a function of its dedupe key; by when they entered."""
ACTORS = Kind(name="actor", type=ActorStatus)
INSTRUMENTS = Kind(name="instrument", type=Instrument)
"""Key: pair. Written by its poller from the venue's contract list."""
MARKS = Kind(name="mark", type=MarkPrice)
"""Key: pair. The newest mark and index price."""
TICKERS = Kind(name="ticker", type=Ticker)
"""Key: pair, as for the next three: the newest that was read."""
OPEN_INTEREST = Kind(name="openinterest", type=OpenInterest)
ORDER_BOOKS = Kind(name="orderbook", type=OrderBook)
PUBLIC_TRADES = Kind(name="publictrades", type=RecentTrades)
TALLIES: Kind[dict[str, Any]] = Kind(name="tally", type=dict[str, Any])
"""Key: role of an actor, or `policy`. What all processes of the role have counted (`desk.counting`)."""
FLATTENINGS: Kind[dict[str, Any]] = Kind(name="flatten", type=dict[str, Any])
"""Key: `{account}:{pair}`. What is to be flat and may not be yet: kept until it is."""
STATE: Kind[dict[str, Any]] = Kind(name="state", type=dict[str, Any])
"""Small named facts: `clock` (the venue's clock anchor), `system` (mode, base url, speed), cursors."""


def revisions_of[T](kind: Kind[T], key: str) -> Kind[T]:
    """Earlier revisions of a limit set or of an account's guardrails; key: the version it had."""
    return Kind(name=f"{kind.name}rev:{key}", type=kind.type)


def decisions_of_run(run_id: str) -> Kind[DecisionRecord]:
    """Decisions of one run, by candle open time."""
    return Kind(name=f"dec:{run_id}", type=DecisionRecord)


def shadow_decisions(cycle_id: str) -> Kind[ShadowDecision]:
    """What a cycle's challenger wanted beside the champion, by candle open time."""
    return Kind(name=f"shadow:{cycle_id}", type=ShadowDecision)


def funding_rates(pair: Pair) -> Kind[FundingRate]:
    """Settled funding rates of a pair; key `str(due_ms)`, sorted by `due_ms`."""
    return Kind(name=f"funding:{pair}", type=FundingRate)


def quarantine(pair: Pair, interval: Interval) -> Kind[QuarantinedRow]:
    """Rows that never became candles; at most `quarantine.MAX_ROWS`, by when they were last seen."""
    return Kind(name=f"quarantine:{pair}:{interval}", type=QuarantinedRow)


def revisions(pair: Pair, interval: Interval) -> Kind[CandleRevision]:
    """Changes of closed candles; at most `revisions.MAX_REVISIONS`, by when they were last seen."""
    return Kind(name=f"revision:{pair}:{interval}", type=CandleRevision)


def signals_of(source_id: str) -> Kind[SignalReceipt]:
    """Messages of one signal source; key `{external_id}:{rev}`, sorted by arrival (wall)."""
    return Kind(name=f"signal:{source_id}", type=SignalReceipt)
