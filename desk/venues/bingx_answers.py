"""One guard for every answer of BingX, and typed access to the fields of its rows.

HTTP 200 proves nothing: the body may be a gateway's page, cut, empty, or of another shape. Whatever
is not exactly a documented answer is a `ProtocolError` that names the field and what it was.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeGuard

from desk.errors import ProtocolError
from desk.venues.bingx_errors import Refusal

_WHOLE_NUMBER = re.compile(r"-?\d{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A guarded answer: an object whose `code` was 0; `data` is None where the venue sent none."""

    call: str
    data: object

    def row(self, key: str = "") -> "Row":
        """The data, or one field of it, as an object."""
        whole = Row.of(self.call, "data", self.data)
        return whole.row(key) if key else whole

    def rows(self, key: str = "") -> "list[Row]":
        """The data, or one field of it, as a list of objects."""
        if key:
            return self.row().rows(key)
        return [Row.of(self.call, where, item) for where, item in self.items()]

    def items(self) -> Iterator[tuple[str, object]]:
        """The elements of a list with the name of their place."""
        yield from _elements(self.call, "data", self.data)


type Answer = Success | Refusal


def guard(call: str, body: object) -> Answer:
    """Read the envelope `{code, msg, data}`. Raises `ProtocolError` for anything else."""
    if not _is_object(body):
        raise ProtocolError(call, f"the answer was {described(body)}, expected an object")
    if "code" not in body:
        raise ProtocolError(call, f"the answer was {described(body)}, expected a code in it")
    code = _body_code(body["code"])
    if code is None:
        raise ProtocolError(call, f"code was {described(body['code'])}, expected a whole number")
    if code != 0:
        return Refusal(call=call, http_status=200, code=code, message=str(body.get("msg") or ""))
    return Success(call=call, data=body.get("data"))


def http_refusal(call: str, http_status: int, body: str) -> Refusal:
    """Read an error page, or an envelope that came with an error status."""
    try:
        envelope: object = json.loads(body)
    except ValueError:
        envelope = None
    if not _is_object(envelope):
        return Refusal(call=call, http_status=http_status, code=None, message=body)
    code = _body_code(envelope.get("code"))
    message = str(envelope.get("msg") or body)
    return Refusal(call=call, http_status=http_status, code=code, message=message)


@dataclass(frozen=True, slots=True)
class Row:
    """An object of an answer. Every getter raises `ProtocolError` naming the field.

    Numbers may come as JSON numbers or as text; ids exceed 2^53 and stay text.
    """

    call: str
    where: str
    fields: Mapping[str, object]

    @classmethod
    def of(cls, call: str, where: str, value: object) -> "Row":
        if not _is_object(value):
            raise ProtocolError(call, f"{where} was {described(value)}, expected an object")
        return cls(call, where, value)

    def row(self, key: str) -> "Row":
        return Row.of(self.call, f"{self.where}.{key}", self.fields.get(key))

    def rows(self, key: str) -> "list[Row]":
        place = f"{self.where}.{key}"
        elements = _elements(self.call, place, self.fields.get(key))
        return [Row.of(self.call, where, item) for where, item in elements]

    def has(self, key: str) -> bool:
        """Whether the field is there and not empty."""
        return self.fields.get(key) not in (None, "")

    def text(self, *keys: str) -> str:
        """The first of these fields that is not empty, as text."""
        for key in keys:
            value = self.fields.get(key)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return str(value)
        raise self.wrong(keys[0], "a text")

    def decimal(self, key: str, default: Decimal | None = None) -> Decimal:
        """A finite number; an absent or empty field gives the default if there is one."""
        if default is not None and not self.has(key):
            return default
        value = self.fields.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            try:
                number = Decimal(value)
            except InvalidOperation:
                raise self.wrong(key, "a number") from None
            if number.is_finite():
                return number
        raise self.wrong(key, "a finite number")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; an absent or empty field gives the default if there is one."""
        if default is not None and not self.has(key):
            return default
        value = self.fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            return int(value)
        raise self.wrong(key, "a whole number")

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """`true`, `false` or these words as text."""
        value = self.fields.get(key)
        match value.lower() if isinstance(value, str) else value:
            case True | "true":
                return True
            case False | "false":
                return False
            case None | "" if default is not None:
                return default
            case _:
                raise self.wrong(key, "true or false")

    def wrong(self, key: str, expected: str) -> ProtocolError:
        """The error that a field was not as expected."""
        found = described(self.fields[key]) if key in self.fields else "absent"
        return ProtocolError(self.call, f"{self.where}.{key} was {found}, expected {expected}")


def described(value: object) -> str:
    """Return a short description of an unexpected value for an error message."""
    if value is None:
        return "null"
    if _is_object(value):
        return f"an object with the keys {sorted(map(str, value))[:8]}"
    if is_list(value):
        return f"a list of {len(value)}"
    if isinstance(value, str) and len(value) > 40:
        return f"a text of {len(value)} characters starting {value[:40]!r}"
    return repr(value)[:60]


def is_list(value: object) -> TypeGuard[list[object]]:
    """Whether a JSON value is a list."""
    return isinstance(value, list)


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _elements(call: str, where: str, value: object) -> Iterator[tuple[str, object]]:
    if not is_list(value):
        raise ProtocolError(call, f"{where} was {described(value)}, expected a list")
    for index, item in enumerate(value):
        yield f"{where}[{index}]", item


def _body_code(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    return None
