"""The operator API as the terminal sees it: one call, one answer, refusals as our own errors."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from desk.errors import BadInput, DeskError, NotFound
from desk.settings import Settings

TIMEOUT_S = 30.0


class ApiUnreachable(DeskError):
    """Nothing answers at the operator API's address."""


class ApiRefused(DeskError):
    """The API answered with a problem that is not the caller's input."""


class Api:
    """Client of one running desk. Every write carries a fresh `Idempotency-Key`."""

    def __init__(self, settings: Settings) -> None:
        self.base_url = f"http://{settings.host}:{settings.port}"
        token = settings.api_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        self._client = httpx2.Client(base_url=self.base_url, headers=headers, timeout=TIMEOUT_S)

    def get(self, path: str, **query: object) -> Any:
        """Read; arguments that are None are left out."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Command; returns the decoded answer."""
        return self._call("POST", path, body=body or {})

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Every item of a list, following `next_cursor`."""
        cursor = None
        while True:
            page = self.get(path, **query, cursor=cursor)
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        given = {key: str(value) for key, value in (query or {}).items() if value is not None}
        headers = {} if method == "GET" else {"Idempotency-Key": str(uuid.uuid4())}
        try:
            answer = self._client.request(method, path, params=given, json=body, headers=headers)
        except httpx2.HTTPError as failed:
            raise ApiUnreachable(
                f"no desk answers at {self.base_url} ({type(failed).__name__}): start it with `desk up`"
            ) from None
        if answer.is_success:
            return answer.json()
        raise _refusal(answer)


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
        case 400 | 409 | 412 | 413 | 422:
            return BadInput(str(problem.get("field") or "request"), detail)
        case _:
            return ApiRefused(f"the desk answered {answer.status_code}: {detail}")
