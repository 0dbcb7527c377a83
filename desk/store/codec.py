"""Values to JSON and back: dataclasses, Decimals as strings, enums, nested mappings, NaN as NaN."""

from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter

_LOSSLESS = ConfigDict(ser_json_inf_nan="constants")


def to_json[T](kind: type[T], value: T) -> bytes:
    """Write a value as JSON; what `from_json` reads back is equal to it.

    Free-form parts (`Any`) come back as JSON knows them: tuples as lists, Decimals as strings.
    """
    # The one-element list carries the rule for NaN: pydantic takes no config for a dataclass.
    return _adapter(kind).dump_json((value,))[1:-1]


def from_json[T](kind: type[T], text: bytes) -> T:
    """Read a value; unknown fields of a newer writer are ignored, missing ones take their default."""
    return _adapter(kind).validate_json(b"[" + text + b"]")[0]


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[tuple[Any]]:
    one_element_tuple: Any = tuple[kind]  # pyright: ignore[reportInvalidTypeForm] - built at run time
    return TypeAdapter(one_element_tuple, config=_LOSSLESS)
