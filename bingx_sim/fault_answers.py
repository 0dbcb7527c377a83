"""Faults of the answer: business codes, HTTP statuses, bodies nobody can read."""

import json
from dataclasses import replace
from typing import Any, cast, override

from bingx_sim.exchange import Call
from bingx_sim.faults import Action, Fields, Outcome, Subject

HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class BusinessCode(Action):
    """Answer `code` with `msg`; with `processed` true the request was carried out all the same."""

    kind = "code"

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        return None if self.fields.get("processed") else self._outcome()

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        return self._outcome() if self.fields.get("processed") else outcome

    def _outcome(self) -> Outcome:
        code: Any = self.fields.get("code", 109500)
        message = str(self.fields.get("msg", "injected"))
        text = json.dumps({"code": code, "msg": message, "data": {}})
        return Outcome(200, text, code=code)


class HttpStatus(Action):
    """Answer HTTP `status` with `body`; with `processed` true the request was carried out."""

    kind = "http"

    @override
    async def before(self, subject: Subject) -> Outcome | None:
        return None if self.fields.get("processed") else self._outcome()

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        return self._outcome() if self.fields.get("processed") else outcome

    def _outcome(self) -> Outcome:
        body = self.fields.get("body", HTML)
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if text.startswith("<") else "application/json"
        return Outcome(int(self.fields.get("status", 503)), text, kind)


class Body(Action):
    """Carry the request out and spoil the body: `form` html, empty, truncated or given `text`."""

    kind = "body"

    @override
    async def after(self, outcome: Outcome) -> Outcome:
        form = self.fields.get("form", "html")
        if form == "html":
            return replace(outcome, text=HTML, content_type="text/html")
        if form == "empty":
            return replace(outcome, text="")
        if form == "truncated":
            return replace(outcome, text=outcome.text[: len(outcome.text) // 2])
        return replace(outcome, text=str(self.fields.get("text", "")))


class Data(Action):
    """Replace `data` by `value`, or remove the `missing` fields of it, or add `extra` ones."""

    kind = "data"

    @override
    def amend_answer(self, envelope: Fields, call: Call) -> Fields:
        if "value" in self.fields:
            return {**envelope, "data": self.fields["value"]}
        data: Any = envelope.get("data")
        missing = set(self.fields.get("missing", ()))
        extra = self.fields.get("extra", {})
        return {**envelope, "data": _reshaped(data, missing, extra)}


class Rows(Action):
    """Send the rows of a list in reverse (`order` reversed), shuffled, or each of them `twice`."""

    kind = "rows"

    @override
    def amend_answer(self, envelope: Fields, call: Call) -> Fields:
        data: Any = envelope.get("data")
        if isinstance(data, list):
            return {**envelope, "data": self._mixed(cast("list[Any]", data))}
        if not isinstance(data, dict):
            return envelope
        mixed = {
            key: self._mixed(cast("list[Any]", value)) if isinstance(value, list) else value
            for key, value in cast("Fields", data).items()
        }
        return {**envelope, "data": mixed}

    def _mixed(self, rows: list[Any]) -> list[Any]:
        copies = [row for row in rows for _ in range(2 if self.fields.get("twice") else 1)]
        match self.fields.get("order", "as sent"):
            case "reversed":
                copies.reverse()
            case "shuffled":
                self.rng.shuffle(copies)
            case _:
                pass
        return copies


class Stale(Action):
    """Repeat the first answer that the rule saw, as a cache that is never refreshed."""

    kind = "stale"

    @override
    def amend_answer(self, envelope: Fields, call: Call) -> Fields:
        first: Fields = self.fields.setdefault("first", envelope)
        return first


class CodeAsString(Action):
    """Send the envelope's `code` as a string."""

    kind = "code_as_string"

    @override
    def amend_answer(self, envelope: Fields, call: Call) -> Fields:
        return {**envelope, "code": str(envelope.get("code", ""))}


def _reshaped(data: Any, missing: set[str], extra: Fields) -> Any:
    """Change every row of a list, or the object, or the orders inside it."""
    if isinstance(data, list):
        return [_reshaped(row, missing, extra) for row in cast("list[Any]", data)]
    if not isinstance(data, dict):
        return data
    fields = {k: v for k, v in cast("Fields", data).items() if k not in missing}
    inner = {k: _reshaped(fields[k], missing, extra) for k in ("order", "orders") if k in fields}
    return {**fields, **(inner or extra)}
