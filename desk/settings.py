"""The settings: one frozen object, read once from the environment by the CLI or a process's start.

A variable with one of our prefixes that names no setting is an error, never ignored.
"""

import difflib
import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from desk.alert_target import parse_target
from desk.errors import BadInput, SettingsError
from desk.ids import parse_pair
from desk.learning.cycles import LearningWindow, Rollout
from desk.market.interval import ALL_INTERVALS, interval_ms, parse_interval
from desk.store.bucket import is_bucket, parse_uri
from desk.store.places import Place

OUR_PREFIXES = (
    "BINGX_",
    "DATA_",
    "DESK_",
    "DRIFT_",
    "SIM_",
    "TRADE_",
    "DECISION_",
    "INGESTION_",
    "RETRY_",
    "RL_",
    "ACCOUNT_RISK_",
    "TRADINGVIEW_",
    "TELEGRAM_",
    "TRUSTED_PROXY_",
    "ALERT_",
    "SLIPPAGE_",
)
_SOURCE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_CHANNEL = re.compile(r"[a-z][a-z0-9_]{3,31}|-?[0-9]{5,16}")
_SESSION = re.compile(r"1[A-Za-z0-9_=-]{352}|1[A-Za-z0-9_=-]{368}")
_FEED_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")
OPEN_TOKEN_CHARS = 24
"""Of an API token that is met by more than this machine: bearer tokens may be tried without a limit."""
NAMED_VENUES = {
    "vst": "https://open-api-vst.bingx.com",
    "live": "https://open-api.bingx.com",
}


class Settings(BaseSettings):
    """Everything that can be set from outside; the field's alias is the environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    redis_url: SecretStr | None = Field(
        None,
        validation_alias="REDIS_URL",
        description="External store, with its password; unset: the embedded one.",
    )
    ray_address: str | None = Field(
        None,
        validation_alias="DESK_RAY_ADDRESS",
        description="`host:port` of a Ray cluster that something else keeps running, as `ray up` does; needs `REDIS_URL`; unset: a Ray of the desk's own.",
    )
    home: Path = Field(
        Path("~/.raydesk"),
        validation_alias="DESK_HOME",
        description="State, history, artifacts and logs.",
    )
    files: str | None = Field(
        None,
        validation_alias="DESK_FILES",
        description="Where all nodes find history, artifacts, datasets and evaluations: a folder, `s3://bucket/prefix` or `gs://bucket/prefix`, with `?region=`, `&endpoint_override=host:port` and `&scheme=http` where they differ; keys come from the vendor's usual variables; unset: inside `DESK_HOME`.",
    )
    api_token: SecretStr | None = Field(
        None,
        validation_alias="API_TOKEN",
        description="The operator's token; without it the server binds to loopback only and live mode is refused. At least 24 characters where `HOST` is open to others.",
    )
    host: str = Field(
        "127.0.0.1", validation_alias="HOST", description="Address of the operator API."
    )
    port: int = Field(
        8000, ge=1, le=65535, validation_alias="PORT", description="Port of the operator API."
    )
    trusted_proxy_cidrs: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="TRUSTED_PROXY_CIDRS",
        description="Networks of your own proxies, separated by commas: only their `X-Forwarded-For` counts; empty: nobody's.",
    )
    ui_vendor: Path | None = Field(
        None,
        validation_alias="DESK_UI_VENDOR",
        description="Folder of the pages' third-party files; unset: inside the Python environment.",
    )

    bingx_api_key: SecretStr | None = Field(
        None, validation_alias="BINGX_API_KEY", description="Key of the account."
    )
    bingx_secret_key: SecretStr | None = Field(
        None, validation_alias="BINGX_SECRET_KEY", description="Secret of the key."
    )
    bingx_base_url: str | None = Field(
        None,
        validation_alias="BINGX_BASE_URL",
        description="Unset: the bundled simulator; `vst`: BingX's demo host; `live`: BingX; or a URL.",
    )
    bingx_recv_window_ms: int = Field(
        5000,
        ge=100,
        le=5000,
        validation_alias="BINGX_RECV_WINDOW",
        description="Milliseconds a signed order stays valid.",
    )
    market_data_pairs: Annotated[tuple[str, ...], NoDecode] = Field(
        ("BTC-USDT", "ETH-USDT", "PAXG-USDT"),
        validation_alias="BINGX_MARKET_DATA_PAIRS",
        description="Pairs to poll, separated by commas.",
    )
    pair_pollers: int = Field(
        50,
        ge=1,
        le=1_000,
        validation_alias="DESK_PAIR_POLLERS",
        description="Processes of candle pollers at most: up to so many pairs each has its own, more share them.",
    )
    market_data_intervals: Annotated[tuple[str, ...], NoDecode] = Field(
        ALL_INTERVALS,
        validation_alias="BINGX_MARKET_DATA_INTERVALS",
        description="Intervals to poll, separated by commas; unset: all of the venue.",
    )
    market_data_backfill: bool = Field(
        default=True,
        validation_alias="BINGX_MARKET_DATA_BACKFILL",
        description="Fetch history by schedule until the venue's earliest candle.",
    )
    backfill_max_batches: int | None = Field(
        None,
        ge=1,
        validation_alias="BINGX_BACKFILL_MAX_BATCHES",
        description="Pages per backfill; unset: to the earliest candle of the asked range.",
    )
    gap_monitor_interval_min: int = Field(
        15,
        ge=1,
        validation_alias="DATA_GAP_MONITOR_INTERVAL_MIN",
        description="Market minutes between gap scans.",
    )
    gap_lookback_days: int = Field(
        30,
        ge=1,
        validation_alias="DATA_GAP_LOOKBACK_DAYS",
        description="How far back a gap scan looks.",
    )
    gap_heal_enabled: bool = Field(
        default=True,
        validation_alias="DATA_GAP_HEAL_ENABLED",
        description="Fetch missing candles again.",
    )
    gap_heal_cooldown_min: int = Field(
        30,
        ge=0,
        validation_alias="DATA_GAP_HEAL_COOLDOWN_MIN",
        description="Market minutes between tries at one gap.",
    )
    gap_heal_max_gaps_per_run: int = Field(
        5,
        ge=1,
        validation_alias="DATA_GAP_HEAL_MAX_GAPS_PER_RUN",
        description="Gaps healed per scan.",
    )
    gap_heal_max_attempts: int = Field(
        5,
        ge=1,
        validation_alias="DATA_GAP_HEAL_MAX_ATTEMPTS",
        description="Tries before a gap counts as absent at the venue.",
    )
    retry_queue_interval_s: int = Field(
        30,
        ge=1,
        validation_alias="RETRY_QUEUE_INTERVAL_SEC",
        description="Wall seconds between looks at the queue of failed ingestion jobs.",
    )
    reconcile_interval_min: int = Field(
        5,
        ge=1,
        validation_alias="TRADE_RECONCILE_INTERVAL_MIN",
        description="Market minutes between full reconciliations.",
    )
    decision_latency_slo_ms: int = Field(
        1500,
        ge=1,
        validation_alias="DECISION_LATENCY_SLO_MS",
        description="Service level of one decision.",
    )
    ingestion_lag_slo_s: int = Field(
        120,
        ge=1,
        validation_alias="INGESTION_LAG_SLO_SEC",
        description="Service level of candle ingestion.",
    )
    slippage_slo_bps: float = Field(
        50.0,
        gt=0,
        validation_alias="SLIPPAGE_SLO_BPS",
        description="Service level of fills: basis points against the close that was decided on.",
    )
    enforce_provenance: bool = Field(
        default=False,
        validation_alias="RL_ENFORCE_PROVENANCE",
        description="Whether a live run may only start and decide while its dataset, feature set and artifact are on record and unchanged.",
    )
    feature_max_freshness_s: int = Field(
        180,
        ge=1,
        validation_alias="RL_FEATURE_MAX_FRESHNESS_SEC",
        description="Oldest candle close a decision may rest on.",
    )
    feature_ood_zscore_limit: float = Field(
        6.0,
        gt=0,
        validation_alias="RL_FEATURE_OOD_ZSCORE_LIMIT",
        description="Feature values beyond this are out of distribution.",
    )
    min_liquidation_buffer_bps: Decimal = Field(
        Decimal(50),
        ge=0,
        lt=10_000,
        validation_alias="ACCOUNT_RISK_MIN_LIQUIDATION_BUFFER_BPS",
        description="How far, in bps, the price must be able to move against an entry before its liquidation.",
    )
    drift_confidence_baseline: float = Field(
        0.5,
        ge=0,
        le=1,
        validation_alias="DRIFT_CONFIDENCE_BASELINE",
        description="Mean confidence that is expected of any version.",
    )
    drift_confidence_delta: float = Field(
        0.3,
        gt=0,
        le=1,
        validation_alias="DRIFT_CONFIDENCE_DELTA",
        description="How far the mean confidence may be from it, and from the version's own on its training candles, before it counts as drift.",
    )
    online_learning_enabled: bool = Field(
        default=False,
        validation_alias="RL_ONLINE_LEARNING_ENABLED",
        description="Whether a run learns that was started without saying so.",
    )
    online_learning_interval_min: int = Field(
        60,
        ge=1,
        validation_alias="RL_ONLINE_LEARNING_INTERVAL_MIN",
        description="Market minutes between the beginnings of two learning cycles.",
    )
    online_learning_train_window_min: int = Field(
        360,
        ge=30,
        validation_alias="RL_ONLINE_LEARNING_TRAIN_WINDOW_MIN",
        description="Market minutes of candles that a challenger is trained on.",
    )
    online_learning_eval_window_min: int = Field(
        120,
        ge=1,
        validation_alias="RL_ONLINE_LEARNING_EVAL_WINDOW_MIN",
        description="Market minutes of later candles that it is judged on, and for which a shadow or canary is watched.",
    )
    online_learning_eval_lag_min: int = Field(
        1,
        ge=1,
        validation_alias="RL_ONLINE_LEARNING_EVAL_LAG_MIN",
        description="Market minutes between the end of training and the evaluation.",
    )
    online_learning_window_size: int = Field(
        30,
        ge=2,
        validation_alias="RL_ONLINE_LEARNING_WINDOW_SIZE",
        description="Candles of a training episode.",
    )
    online_learning_stride: int = Field(
        1,
        ge=1,
        validation_alias="RL_ONLINE_LEARNING_STRIDE",
        description="Candles from where one episode may begin to the next such place.",
    )
    online_learning_timesteps: int = Field(
        200_000,
        ge=1_000,
        validation_alias="RL_ONLINE_LEARNING_TIMESTEPS",
        description="Environment steps of a training.",
    )
    online_learning_decision_threshold: float = Field(
        0.35,
        ge=0,
        le=1,
        validation_alias="RL_ONLINE_LEARNING_DECISION_THRESHOLD",
        description="Least confidence acted on in a cycle's evaluations and shadow.",
    )
    online_learning_auto_roll_forward: bool = Field(
        default=True,
        validation_alias="RL_ONLINE_LEARNING_AUTO_ROLL_FORWARD",
        description="Let an accepted challenger in without an operator.",
    )
    online_learning_rollout_mode: Rollout = Field(
        Rollout.SHADOW,
        validation_alias="RL_ONLINE_LEARNING_ROLLOUT_MODE",
        description="What an accepted challenger does first: `shadow` decides beside, `canary` trades a part of the size, `full` becomes active at once.",
    )
    online_learning_size_fraction: float = Field(
        0.25,
        gt=0,
        le=1,
        validation_alias="RL_ONLINE_LEARNING_CANARY_FRACTION",
        description="Part of the allowed size that a canary trades.",
    )
    tradingview_feed_tokens: SecretStr | None = Field(
        None,
        validation_alias="TRADINGVIEW_FEED_TOKENS",
        description="`source=token` of each TradingView feed, separated by commas; at most two tokens of one source, of 32 characters or more.",
    )
    tradingview_secret: SecretStr | None = Field(
        None,
        validation_alias="TRADINGVIEW_SECRET",
        description="Value that the field `secret` of every alert must have; unset: none is asked for.",
    )
    tradingview_cidrs: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="TRADINGVIEW_CIDRS",
        description="Networks that alerts may come from, separated by commas; empty: any.",
    )
    tradingview_sync_interval_min: int = Field(
        60,
        ge=1,
        validation_alias="TRADINGVIEW_SYNC_INTERVAL_MIN",
        description="Wall minutes between syncs of a TradingView feed: its route tests itself, alerts are counted.",
    )
    telegram_api_id: int | None = Field(
        None, ge=1, validation_alias="TELEGRAM_API_ID", description="Telegram's id of your app."
    )
    telegram_api_hash: SecretStr | None = Field(
        None, validation_alias="TELEGRAM_API_HASH", description="Telegram's secret of your app."
    )
    telegram_session: SecretStr | None = Field(
        None,
        validation_alias="TELEGRAM_SESSION",
        description="Telethon's `StringSession`: full access to the account, kept nowhere else.",
    )
    telegram_chat_ids: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="TELEGRAM_CHAT_IDS",
        description="Channels to read, names or ids, separated by commas; empty: none.",
    )
    telegram_ingest_interval_min: int = Field(
        60,
        ge=1,
        validation_alias="TELEGRAM_INGEST_INTERVAL_MIN",
        description="Wall minutes between polls of a channel; events come at once.",
    )
    telegram_sync_limit: int = Field(
        50,
        ge=1,
        le=1_000,
        validation_alias="TELEGRAM_SYNC_LIMIT",
        description="New messages read per poll; of a channel read for the first time, its newest.",
    )
    alert_webhook_url: SecretStr | None = Field(
        None,
        validation_alias="ALERT_WEBHOOK_URL",
        description="Where alerts are posted: https to a public address, or this machine by name (`localhost`); unset: nowhere.",
    )
    alert_webhook_secret: SecretStr | None = Field(
        None,
        min_length=16,
        validation_alias="ALERT_WEBHOOK_SECRET",
        description="Key of the HMAC-SHA256 with which posted alerts are signed, at least 16 characters.",
    )
    alert_telegram_chat_id: str | None = Field(
        None,
        validation_alias="ALERT_TELEGRAM_CHAT_ID",
        description="Chat that alerts are written to as the account of `TELEGRAM_SESSION`, a name or an id; unset: none.",
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Collector that decisions go to as OpenTelemetry traces (OTLP over HTTP), as `http://127.0.0.1:4318`; unset: nowhere.",
    )
    sim_speed: float = Field(
        60.0,
        ge=1,
        le=600,
        validation_alias="SIM_SPEED",
        description="Market milliseconds per wall millisecond in the bundled simulator.",
    )
    sim_seed: int = Field(
        7, validation_alias="SIM_SEED", description="Seed of the bundled simulator's market."
    )
    sim_tape: Path | None = Field(
        None,
        validation_alias="SIM_TAPE",
        description="Parquet file of 1m candles the simulator replays for BTC-USDT.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load_settings` hands over: by itself the library would also read the
        process environment under the fields' own names, `HOME` for `home` among them."""
        return (init_settings,)

    @field_validator("market_data_pairs", mode="before")
    @classmethod
    def _split_pairs(cls, value: object) -> object:
        try:
            return tuple(parse_pair(part) for part in _parts(value))
        except BadInput as wrong:
            raise ValueError(wrong.problem) from None

    @field_validator("market_data_intervals", mode="before")
    @classmethod
    def _split_intervals(cls, value: object) -> object:
        try:
            known = tuple(parse_interval(part) for part in _parts(value))
        except BadInput as wrong:
            raise ValueError(wrong.problem) from None
        return tuple(sorted(known, key=interval_ms))

    @field_validator("tradingview_feed_tokens", mode="after")
    @classmethod
    def _check_feed_tokens(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            feed_token_hashes(value)
        return value

    @field_validator("tradingview_cidrs", "trusted_proxy_cidrs", mode="before")
    @classmethod
    def _split_cidrs(cls, value: object) -> object:
        return tuple(str(ipaddress.ip_network(part)) for part in _parts(value))

    @field_validator("trusted_proxy_cidrs", mode="after")
    @classmethod
    def _refuse_everybody(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for cidr in value:
            if cidr.endswith("/0"):
                raise ValueError(
                    f"was {cidr}, which trusts every client: name your proxy's network"
                )
        return value

    @field_validator("telegram_session", mode="after")
    @classmethod
    def _check_session(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SESSION.fullmatch(value.get_secret_value()):
            raise ValueError(
                "is no StringSession of Telethon: make a new one with `desk telegram login`"
            )
        return value

    @field_validator("telegram_chat_ids", mode="before")
    @classmethod
    def _split_channels(cls, value: object) -> object:
        channels = tuple(dict.fromkeys(part.lower().removeprefix("@") for part in _parts(value)))
        for channel in channels:
            if not _CHANNEL.fullmatch(channel):
                raise ValueError(
                    f"was {channel!r}, expected the name of a channel (4 to 32 letters, digits, _) or its numeric id"
                )
        return channels

    @field_validator("alert_webhook_url", mode="after")
    @classmethod
    def _check_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parse_target(value.get_secret_value())
            except BadInput as wrong:
                raise ValueError(wrong.problem) from None
        return value

    @field_validator("otlp_endpoint", mode="after")
    @classmethod
    def _check_collector(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("was no http or https address, expected one as http://127.0.0.1:4318")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("had a name, a password, a query or a fragment, expected none")
        return value

    @field_validator("alert_telegram_chat_id", mode="after")
    @classmethod
    def _check_chat(cls, value: str | None) -> str | None:
        chat = None if value is None else value.strip().lower().removeprefix("@")
        if chat is not None and not _CHANNEL.fullmatch(chat):
            raise ValueError(
                f"was {chat!r}, expected the name of a chat (4 to 32 letters, digits, _) or its numeric id"
            )
        return chat

    @field_validator("home", mode="after")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("files", mode="after")
    @classmethod
    def _check_files(cls, value: str | None) -> str | None:
        if value is None or is_bucket(value):
            if value is not None:
                parse_uri(value)
            return value
        folder = Path(value).expanduser()
        if not folder.is_absolute():
            raise ValueError("expected a folder by its whole path, s3://… or gs://…")
        return str(folder)

    @field_validator("ray_address", mode="after")
    @classmethod
    def _check_ray_address(cls, value: str | None) -> str | None:
        if value is not None:
            host_and_port(value)
        return value

    @field_validator("bingx_base_url", mode="after")
    @classmethod
    def _known_venue(cls, value: str | None) -> str | None:
        if value is None or value in NAMED_VENUES:
            return value
        if "@" in value or "?" in value:  # pages and records show it
            raise ValueError("holds a name, password or query: keys go into BINGX_API_KEY")
        if value.startswith(("http://", "https://")):
            return value
        raise ValueError(f"was {value!r}, expected vst, live or a URL; unset it for the simulator")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        token = "" if self.api_token is None else self.api_token.get_secret_value()
        if not token and not _is_loopback(self.host):
            raise ValueError("HOST is open to others: set API_TOKEN, or HOST=127.0.0.1")
        if len(token) < OPEN_TOKEN_CHARS and not _is_loopback(self.host):
            raise ValueError(
                f"HOST is open to others: API_TOKEN must have {OPEN_TOKEN_CHARS} characters or more,"
                " such as `openssl rand -hex 32` prints"
            )
        if (self.bingx_api_key is None) != (self.bingx_secret_key is None):
            raise ValueError("BINGX_API_KEY and BINGX_SECRET_KEY belong together: set both or none")
        try:
            _ = self.learning_window
        except BadInput as wrong:
            name = wrong.field.upper().replace("EVALUATION", "EVAL").replace("EVERY", "INTERVAL")
            raise ValueError(f"RL_ONLINE_LEARNING_{name}: {wrong.problem}") from None
        access = (self.telegram_api_id, self.telegram_api_hash, self.telegram_session)
        if self.telegram_chat_ids and None in access:
            raise ValueError(
                "TELEGRAM_CHAT_IDS needs TELEGRAM_API_ID, TELEGRAM_API_HASH and TELEGRAM_SESSION:"
                " set all of them or none"
            )
        if self.alert_telegram_chat_id is not None and None in access:
            raise ValueError(
                "ALERT_TELEGRAM_CHAT_ID needs TELEGRAM_API_ID, TELEGRAM_API_HASH and"
                " TELEGRAM_SESSION: set all of them, or unset it"
            )
        if (self.alert_webhook_url is None) != (self.alert_webhook_secret is None):
            raise ValueError(
                "ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET belong together: set both or none"
            )
        return self

    @property
    def place(self) -> Place:
        """Where files lie."""
        return Place(home=self.home, files=self.files)

    @property
    def feed_hashes(self) -> tuple[tuple[str, str], ...]:
        """Source and SHA-256 of each feed token."""
        tokens = self.tradingview_feed_tokens
        return feed_token_hashes(tokens) if tokens else ()

    @property
    def local_api_url(self) -> str:
        """Where this machine reaches the operator API: loopback where it listens on every address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def learning_window(self) -> LearningWindow:
        """The operator's learning window."""
        return LearningWindow(
            train_window_min=self.online_learning_train_window_min,
            evaluation_window_min=self.online_learning_eval_window_min,
            evaluation_lag_min=self.online_learning_eval_lag_min,
            every_min=self.online_learning_interval_min,
            window_size=self.online_learning_window_size,
            stride=self.online_learning_stride,
            timesteps=self.online_learning_timesteps,
            decision_threshold=self.online_learning_decision_threshold,
            rollout=self.online_learning_rollout_mode,
            auto_roll_forward=self.online_learning_auto_roll_forward,
            canary_fraction=self.online_learning_size_fraction,
        )

    @property
    def uses_simulator(self) -> bool:
        """Whether `desk up` starts the bundled exchange itself."""
        return self.bingx_base_url is None


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings. Raises `SettingsError` with one sentence that names the remedy."""
    environment = os.environ if environment is None else environment
    unknown = _unknown(environment)
    if unknown:
        raise SettingsError(unknown[0])
    try:
        return Settings.model_validate(_given(environment))
    except ValidationError as wrong:
        raise SettingsError(_said(wrong)[0]) from None


def settings_problems(environment: Mapping[str, str] | None = None) -> list[str]:
    """Everything that is wrong with the settings at once, a sentence each; empty: they can be read.

    What several settings mean together is only judged once each of them can be read by itself.
    """
    environment = os.environ if environment is None else environment
    try:
        Settings.model_validate(_given(environment))
        wrong_values = list[str]()
    except ValidationError as wrong:
        wrong_values = _said(wrong)
    return _unknown(environment) + wrong_values


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        field.validation_alias: environment[field.validation_alias]
        for field in Settings.model_fields.values()
        if isinstance(field.validation_alias, str)
        and environment.get(field.validation_alias, "") != ""
    }


def _said(wrong: ValidationError) -> list[str]:
    """Each error as a sentence that names its setting; never the value, which may be a secret."""
    texts: list[str] = []
    for error in wrong.errors():
        name = str(error["loc"][0]) if error["loc"] else ""
        said = str(error["msg"]).removeprefix("Value error, ")
        texts.append(f"{name}: {said}" if name else said)
    return texts


def feed_token_hashes(tokens: SecretStr) -> tuple[tuple[str, str], ...]:
    """Source and SHA-256 of each feed token. Raises `ValueError` without showing a token."""
    feeds: list[tuple[str, str]] = []
    for number, part in enumerate(_parts(tokens.get_secret_value()), start=1):
        source, _, token = part.partition("=")
        if not _SOURCE_ID.fullmatch(source) or not _FEED_TOKEN.fullmatch(token):
            raise ValueError(
                f"entry {number} is not source=token: a name of a-z, 0-9, - and a token of 32 to 128"
                " characters of A-Z, a-z, 0-9, -, _"
            )
        feeds.append((source, hashlib.sha256(token.encode()).hexdigest()))
    for source in {source for source, _ in feeds}:
        if sum(source == other for other, _ in feeds) > 2:
            raise ValueError(f"{source} has more than two tokens: remove the oldest")
    if len({token for _, token in feeds}) < len(feeds):
        raise ValueError("the same token stands there twice: give each entry its own")
    return tuple(feeds)


def is_feed_name(text: str) -> bool:
    """Whether this may be the source id of a TradingView feed."""
    return bool(_SOURCE_ID.fullmatch(text))


def setting_names() -> dict[str, Any]:
    """Environment variable → its field, in the order of declaration."""
    return {str(field.validation_alias): field for field in Settings.model_fields.values()}


def _unknown(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each name with one of our prefixes that is no setting."""
    known = set(setting_names())
    texts: list[str] = []
    for name in sorted(environment):
        if name.startswith(OUR_PREFIXES) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "see docs/settings.md for the names"
            texts.append(f"{name} is not a setting: {hint}")
    return texts


def _parts(value: object) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, (tuple, list)):
        return [str(part) for part in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise ValueError("expected names separated by commas")


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port`, an IPv6 host in brackets. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"was {address!r}, expected host:port such as 10.0.0.4:6379")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
