"""What every actor is started with: plain settings, and the adapters each process builds from them."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from desk.ids import Pair
from desk.learning.cycles import LearningWindow
from desk.market import poller_places
from desk.market.interval import Interval
from desk.store.places import Place

if TYPE_CHECKING:  # both bring libraries that the actors' processes do without
    from desk.settings import Settings
    from desk.venues.bingx_wire import BingxConfig

NAMESPACE = "raydesk"
PAPER, LIVE = "paper", "live"


class PolicyMode(StrEnum):
    """Where a decision loop asks its policy."""

    SERVE = "serve"
    """The replicas of the Serve application `policy`: the normal mode."""
    LOCAL = "local"
    """In the loop's own process, from the same artifact and by the same forward pass: for machines
    and tests without Serve. Promotion needs no replica to follow, every decision names its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Plain values only, so that it travels to any process; adapters connect where they are used.

    Durations named `_s` are wall seconds, `_ms` and `_min` market time.
    """

    store_url: str = field(repr=False)
    """With its password, where it has one."""
    home: Path
    files: str | None = None
    """Where shared files lie; None: in `home`."""
    venue_url: str
    pairs: tuple[Pair, ...]
    intervals: tuple[Interval, ...]
    namespace: str = NAMESPACE
    api_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    recv_window_ms: int = 5_000
    collateral_asset: str = "USDT"
    has_api_token: bool = False
    enforce_provenance: bool = False

    starting_cash: Decimal = Decimal(10_000)
    """Of the paper account, in USDT."""
    policy_mode: PolicyMode = PolicyMode.SERVE
    policy_deadline_s: float = 1.0

    pair_pollers: int = 50
    """Processes of candle pollers at most; more pairs share them."""
    market_data_backfill: bool = False
    """Whether the pollers fetch history by themselves, until the venue's earliest candle."""
    backfill_max_batches: int | None = None

    gap_monitor_interval_min: int = 15
    gap_lookback_days: int = 30
    gap_heal_enabled: bool = True
    gap_heal_cooldown_min: int = 30
    gap_heal_max_gaps_per_run: int = 5
    gap_heal_max_attempts: int = 5
    retry_queue_interval_s: int = 30
    reconcile_interval_min: int = 5
    max_decision_age_ms: int = 60_000
    """An intent older than this is not sent any more."""
    feature_max_freshness_s: int = 180
    feature_ood_zscore_limit: float = 6.0
    min_liquidation_buffer_bps: Decimal = Decimal(50)

    drift_confidence_baseline: float = 0.5
    drift_confidence_delta: float = 0.3
    drift_confidence_decisions: int = 30
    """Whose mean confidence is judged."""

    decision_latency_slo_ms: int = 1500
    ingestion_lag_slo_s: int = 120
    slippage_slo_bps: float = 50.0

    learning: LearningWindow = field(default_factory=LearningWindow)
    learning_enabled: bool = False
    """Whether a run learns that was started without saying so."""

    telegram_channels: tuple[str, ...] = ()
    """Empty: no poller of signals is started."""
    telegram_api_id: int = 0
    telegram_api_hash: SecretStr | None = None
    telegram_session: SecretStr | None = None
    telegram_ingest_interval_min: int = 60
    """Wall minutes, as channels know no market time."""
    telegram_sync_limit: int = 50

    tradingview_feeds: tuple[tuple[str, str], ...] = ()
    """Source and SHA-256 of each feed token; empty: no sync is started. No process needs a token."""
    tradingview_secret: SecretStr | None = None
    tradingview_sync_interval_min: int = 60
    """Wall minutes, as alerts know no market time."""
    alert_webhook_url: SecretStr | None = None
    alert_webhook_secret: SecretStr | None = None
    alert_telegram_chat_id: str | None = None
    otlp_endpoint: str | None = None
    """Of a collector of traces; None: none."""
    api_url: str = ""
    """Of the operator API, as this machine reaches it."""

    heartbeat_every_s: float = 1.0
    heartbeat_patience_s: float = 2.0
    stale_loop_s: float = 20.0
    """Age of a work loop's last turn at which its process counts as hung."""
    lease_ttl_s: float = 6.0
    lease_renew_s: float = 2.0
    lookup_schedule_s: tuple[float, ...] = (0.3, 0.6, 1.2, 2.4, 5.0)
    """When an order without a clear answer is looked up; afterwards every second."""
    fill_schedule_s: tuple[float, ...] = (0.2, 0.4, 0.8, 1.5, 3.0)
    """When an accepted order is asked for its fills; afterwards the reconciler does."""
    archive_every_s: float = 300.0
    """How often the hot candles are copied to the history; 0: never."""

    @property
    def place(self) -> Place:
        """Where files lie."""
        return Place(home=self.home, files=self.files)

    @property
    def accounts(self) -> tuple[str, ...]:
        """`paper`, and `live` once keys are configured."""
        return (PAPER, LIVE) if self.has_keys else (PAPER,)

    @property
    def has_keys(self) -> bool:
        """Whether orders can be signed."""
        return self.api_key is not None and self.secret_key is not None

    @property
    def poller_places(self) -> dict[str, tuple[Pair, ...]]:
        """Pairs by the key of their poller."""
        return poller_places.places(self.pairs, self.pair_pollers)

    def poller_of(self, pair: Pair) -> str:
        """Key of the poller of a pair."""
        return poller_places.place_of(pair, self.pairs, self.pair_pollers)

    @classmethod
    def of(cls, settings: "Settings", *, store_url: str, venue: "BingxConfig") -> "Wiring":
        """Take the settings of an operator; where store and venue are is known once they run."""
        return cls(
            store_url=store_url,
            home=settings.home,
            files=settings.files,
            venue_url=venue.base_url,
            pairs=settings.market_data_pairs,
            intervals=settings.market_data_intervals,
            api_key=SecretStr(venue.api_key) if venue.api_key else None,
            secret_key=SecretStr(venue.secret) if venue.secret else None,
            recv_window_ms=venue.recv_window_ms,
            collateral_asset=venue.collateral_asset,
            has_api_token=settings.api_token is not None,
            enforce_provenance=settings.enforce_provenance,
            pair_pollers=settings.pair_pollers,
            market_data_backfill=settings.market_data_backfill,
            backfill_max_batches=settings.backfill_max_batches,
            gap_monitor_interval_min=settings.gap_monitor_interval_min,
            gap_lookback_days=settings.gap_lookback_days,
            gap_heal_enabled=settings.gap_heal_enabled,
            gap_heal_cooldown_min=settings.gap_heal_cooldown_min,
            gap_heal_max_gaps_per_run=settings.gap_heal_max_gaps_per_run,
            gap_heal_max_attempts=settings.gap_heal_max_attempts,
            retry_queue_interval_s=settings.retry_queue_interval_s,
            reconcile_interval_min=settings.reconcile_interval_min,
            telegram_channels=settings.telegram_chat_ids,
            telegram_api_id=settings.telegram_api_id or 0,
            telegram_api_hash=settings.telegram_api_hash,
            telegram_session=settings.telegram_session,
            telegram_ingest_interval_min=settings.telegram_ingest_interval_min,
            telegram_sync_limit=settings.telegram_sync_limit,
            tradingview_feeds=settings.feed_hashes,
            tradingview_secret=settings.tradingview_secret,
            tradingview_sync_interval_min=settings.tradingview_sync_interval_min,
            alert_webhook_url=settings.alert_webhook_url,
            otlp_endpoint=settings.otlp_endpoint,
            alert_webhook_secret=settings.alert_webhook_secret,
            alert_telegram_chat_id=settings.alert_telegram_chat_id,
            api_url=settings.local_api_url,
            feature_max_freshness_s=settings.feature_max_freshness_s,
            feature_ood_zscore_limit=settings.feature_ood_zscore_limit,
            min_liquidation_buffer_bps=settings.min_liquidation_buffer_bps,
            drift_confidence_baseline=settings.drift_confidence_baseline,
            drift_confidence_delta=settings.drift_confidence_delta,
            decision_latency_slo_ms=settings.decision_latency_slo_ms,
            ingestion_lag_slo_s=settings.ingestion_lag_slo_s,
            slippage_slo_bps=settings.slippage_slo_bps,
            learning=settings.learning_window,
            learning_enabled=settings.online_learning_enabled,
        )
