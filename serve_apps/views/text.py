"""Numbers as the API writes them."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from pydantic import JsonValue, TypeAdapter

_JSON = TypeAdapter[dict[str, JsonValue]](dict[str, JsonValue])


def money(value: Decimal) -> str:
    """A decimal as plain digits: no exponent, no negative zero."""
    return format(value if value else abs(value), "f")


def money_or_none(value: Decimal) -> str | None:
    """None for a zero that means "not yet": the price of an order without a fill."""
    return money(value) if value else None


def money_if_set(value: Decimal | None) -> str | None:
    """None where nothing was asked for; a zero is a zero."""
    return None if value is None else money(value)


def finite(value: float) -> float | None:
    """None for NaN and infinities, which JSON cannot say."""
    return value if math.isfinite(value) else None


def json_object(value: Mapping[str, Any]) -> dict[str, JsonValue]:
    """A free-form record as JSON values; Decimals become text."""
    return cast("dict[str, JsonValue]", _JSON.dump_python(dict(value), mode="json", warnings=False))
