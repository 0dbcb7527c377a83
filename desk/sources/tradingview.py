"""The route of TradingView's alerts, tested as TradingView uses it: one POST, an answer within 3 s."""

import json
from collections.abc import Callable

import httpx2
from pydantic import SecretStr

from desk.errors import FeedError

TIMEOUT_S = 3.0
"""TradingView gives up after so long; a slower route loses alerts."""


class FeedRoute:
    """Posts to the webhook of the operator API at `api_url`. Errors name neither token nor secret."""

    def __init__(
        self, api_url: str, secret: SecretStr | None, *, monotonic_s: Callable[[], float]
    ) -> None:
        self._url, self._secret, self._monotonic_s = api_url, secret, monotonic_s

    async def test(self, token: str) -> int:
        """Post a self-test with a pass and return how long the answer took, in ms.

        Raises `FeedError` for anything but 204 in time. Nothing is repeated: a pass is for one request.
        """
        said: dict[str, object] = {"self_test": True}
        if self._secret is not None:
            said["secret"] = self._secret.get_secret_value()
        headers = {"content-type": "application/json"}
        began_s = self._monotonic_s()
        try:
            # No proxy from the environment: the request must not leave the machine.
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
                answer = await client.post(
                    f"{self._url}/webhooks/tradingview/{token}",
                    content=json.dumps(said),
                    headers=headers,
                )
        except httpx2.HTTPError as failed:
            raise FeedError(
                f"the route at {self._url} did not answer its self-test ({type(failed).__name__})"
            ) from None
        took_ms = round((self._monotonic_s() - began_s) * 1000)
        if answer.status_code == 404:
            raise FeedError(
                "the route refused its self-test (404): the API was started with other"
                " TRADINGVIEW_FEED_TOKENS or another TRADINGVIEW_SECRET; restart the desk"
            )
        if answer.status_code != 204:
            raise FeedError(f"the route answered its self-test with {answer.status_code}, not 204")
        if took_ms > TIMEOUT_S * 1000:
            raise FeedError(f"the route took {took_ms} ms; TradingView gives up after 3 s")
        return took_ms
