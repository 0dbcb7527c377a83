"""The settings of ingestion as the desk was started with, each with where its value comes from."""

from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from desk.settings import Settings, setting_names

OF_INGESTION = (
    "BINGX_MARKET_DATA_",
    "BINGX_BACKFILL_",
    "DATA_",
    "INGESTION_",
    "RETRY_",
    "TELEGRAM_",
    "TRADINGVIEW_",
)
WITHHELD = frozenset({"TELEGRAM_API_ID"})
"""Part of a log-in, though no secret by itself."""

type Shown = bool | int | float | str | list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFact:
    """One setting; it never holds a secret."""

    name: str
    value: Shown
    origin: Literal["environment", "default"]


def ingestion_settings(settings: Settings) -> tuple[SettingFact, ...]:
    """Every setting of ingestion that is no secret, in the order of declaration."""
    facts: list[SettingFact] = []
    for alias, described in setting_names().items():
        if not alias.startswith(OF_INGESTION) or alias in WITHHELD:
            continue
        if SecretStr in _types(described.annotation):
            continue
        field = field_of(alias)
        value: object = getattr(settings, field)
        facts.append(
            SettingFact(
                name=alias,
                value=[str(part) for part in value] if isinstance(value, tuple) else _plain(value),  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                origin="environment" if field in settings.model_fields_set else "default",
            )
        )
    return tuple(facts)


def field_of(name: str) -> str:
    """The field of `Settings` that an environment variable of ours sets."""
    fields = {str(info.validation_alias): field for field, info in Settings.model_fields.items()}
    return fields[name]


def _types(annotation: object) -> tuple[object, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _plain(value: object) -> Shown:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
