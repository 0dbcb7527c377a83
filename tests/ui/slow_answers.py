"""A desk whose answers take their time, each another one: what a page does before it has them is seen.

`UI_SLOW_MS=400 python -m pytest tests/ui` runs every browser test on such a desk.
"""

import asyncio
import os
import random

from starlette.types import ASGIApp, Receive, Scope, Send

SEED = 7
OWN_FILES = "/ui/"
"""Of the pages themselves: what comes late here is what they show."""


class SlowAnswers:
    """Holds each answer back for up to so many ms; which one for how long, depends on the seed."""

    def __init__(self, app: ASGIApp, most_ms: float) -> None:
        self._app, self._most_s = app, most_ms / 1000
        self._random = random.Random(SEED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(OWN_FILES):
            await asyncio.sleep(self._random.uniform(0.0, self._most_s))
        await self._app(scope, receive, send)


def as_slow_as_asked(app: ASGIApp) -> ASGIApp:
    """The app, slow if `UI_SLOW_MS` says so."""
    most_ms = float(os.environ.get("UI_SLOW_MS", "0"))
    return SlowAnswers(app, most_ms) if most_ms > 0 else app
