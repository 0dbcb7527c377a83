"""The operator API as the terminal sees it: one call, one answer, refusals as our own errors."""

import json
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import httpx2

from desk.errors import BadInput, DeskError, NotFound, RequestRefused
from desk.settings import Settings
from desk.wallclock import monotonic_s

TIMEOUT_S = 30.0
PATIENCE_S = 5.0
"""For how long a call is repeated whose connection broke; nobody listening is an answer at once."""
START_PATIENCE_S = 180.0
"""The same while a desk starts, when nobody listening is waited for: a lost Ray head takes a minute."""
PAUSE_S = 0.25
STREAM_SILENCE_S = 60.0
"""An event stream sends a ping every 15 s: silent for longer, it is broken."""


class ApiUnreachable(DeskError):
    """Nothing answers at the operator API's address."""


class ApiRefused(DeskError):
    """The API answered with a problem that is not the caller's input."""


class Api:
    """Client of one running desk. Every write carries a fresh `Idempotency-Key`.

    A call whose connection breaks is repeated for `PATIENCE_S`, a write under its same key, so that
    a replica that is being replaced costs nothing. `awaits_start`: nobody listening yet is waited
    for as well.
    """

    def __init__(self, settings: Settings, *, awaits_start: bool = False) -> None:
        self._awaits_start = awaits_start
        self._patience_s = START_PATIENCE_S if awaits_start else PATIENCE_S
        self.base_url = f"http://{settings.host}:{settings.port}"
        token = settings.api_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        self._client = httpx2.Client(base_url=self.base_url, headers=headers, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def get(self, path: str, **query: object) -> Any:
        """Read; arguments that are None are left out."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Command; returns the decoded answer."""
        return self._call("POST", path, body=body or {})

    def change(
        self, method: str, path: str, body: Mapping[str, object], *, seen: int | None = None
    ) -> Any:
        """Change a resource by `PUT` or `PATCH`; returns the decoded answer.

        `seen` is the row version that the caller knows: the desk refuses if it moved on.
        """
        return self._call(method, path, body=body, seen=seen)

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Every item of a list, following `next_cursor`."""
        cursor = None
        while True:
            page = self.get(path, **query, cursor=cursor)
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def events(self, *, topics: str | None = None) -> Generator[dict[str, Any]]:
        """The desk's events as they happen, without end: a stream that ended is resumed.

        `resync` among them means that some were missed.

        Raises `ApiUnreachable` once nothing answers any more.
        """
        last_id, until_s = "", monotonic_s() + self._patience_s
        while True:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with self._client.stream(
                    "GET",
                    "/events",
                    params={"topics": topics} if topics else None,
                    headers=headers,
                    timeout=httpx2.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S),
                ) as answer:
                    if not answer.is_success:
                        answer.read()
                        raise _refusal(answer)
                    for event in _messages(answer.iter_lines()):
                        last_id, until_s = event["id"], monotonic_s() + self._patience_s
                        if event["event"] != "hello":
                            yield event
            except httpx2.HTTPError as failed:
                if monotonic_s() > until_s or not self._may_repeat(failed):
                    raise self._unreachable(failed) from None
            time.sleep(PAUSE_S)

    def _unreachable(self, failed: httpx2.HTTPError) -> ApiUnreachable:
        return ApiUnreachable(
            f"no desk answers at {self.base_url} ({type(failed).__name__}): start it with `desk up`"
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        seen: int | None = None,
    ) -> Any:
        given = {key: _spelled(value) for key, value in (query or {}).items() if value is not None}
        headers = {} if method == "GET" else {"Idempotency-Key": str(uuid.uuid4())}
        if seen is not None:
            headers["If-Match"] = f'"{seen}"'
        until_s = monotonic_s() + self._patience_s
        while True:
            try:
                answer = self._client.request(
                    method, path, params=given or None, json=body, headers=headers
                )
                if monotonic_s() > until_s or not self._is_starting(answer):
                    break
            except httpx2.HTTPError as failed:
                if monotonic_s() > until_s or not self._may_repeat(failed):
                    raise self._unreachable(failed) from None
            time.sleep(PAUSE_S)
        if answer.is_success:
            return answer.json()
        raise _refusal(answer)

    def _is_starting(self, answer: httpx2.Response) -> bool:
        """Whether the API is not there yet: no route of ours, or actors and store away."""
        if not self._awaits_start:
            return False
        is_ours = "problem+json" in answer.headers.get("content-type", "")
        return answer.status_code == 503 or (answer.status_code == 404 and not is_ours)

    def _may_repeat(self, failed: httpx2.HTTPError) -> bool:
        return self._awaits_start or not isinstance(failed, httpx2.ConnectError)


def _messages(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events as records: `id`, `event` and the fields of their data."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = fields.get(name, "") + value.removeprefix(" ")
        elif not line and "data" in fields:
            head = {"id": fields.get("id", ""), "event": fields.get("event", "")}
            yield head | json.loads(fields["data"])
            fields = {}


def _spelled(value: object) -> str | list[str]:
    return [str(part) for part in value] if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _refusal(answer: httpx2.Response) -> DeskError:
    try:
        problem: dict[str, Any] = answer.json()
    except ValueError:
        problem = {"title": answer.reason_phrase, "detail": answer.text[:200]}
    detail = str(problem.get("detail") or problem.get("title") or answer.reason_phrase)
    match answer.status_code:
        case 401 | 403:
            return BadInput("API_TOKEN", f"{detail}: set API_TOKEN to the running desk's token")
        case 404:
            return NotFound("resource", detail)
        case 409 | 412:
            return RequestRefused(str(problem.get("field") or "request"), detail)
        case 400 | 413 | 422:
            return BadInput(str(problem.get("field") or "request"), detail)
        case _:
            return ApiRefused(f"the desk answered {answer.status_code}: {detail}")
