"""Counts requests by route template and class of status, and how long their answers took to begin."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desk import meters
from desk.wallclock import monotonic_s

UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestCounts:
    """Pure ASGI, around everything that may answer. Paths that no route has share one label."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = monotonic_s()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = route_of(scope)
                method = scope["method"] if scope["method"] in _METHODS else "other"
                meters.REQUESTS.count(method, route, f"{message['status'] // 100}xx")
                meters.REQUEST.observe(monotonic_s() - began_s, route)
            await send(message)

        await self._app(scope, receive, send_counted)


def route_of(scope: Scope) -> str:
    """The template of the route that took a request (`/agents/{agent_id}`), never the path itself."""
    if scope["path"].startswith("/ui/"):
        return "/ui"
    return str(getattr(scope.get("route"), "path", "") or UNMATCHED)
