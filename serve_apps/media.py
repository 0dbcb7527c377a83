"""415 for a body that no route can read, before anything acts."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_apps.auth import FORM_ROUTES
from serve_apps.intake import body_of, is_write
from serve_apps.problems import problem

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
_ANYTHING = "/webhooks/"
"""What an alert's sender calls its text is the sender's affair."""


class MediaGuard:
    """Lets through JSON, plain forms where a route takes them, and requests without a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_write(scope) and body_of(scope) and not _is_readable(scope):
            answer = problem(
                415,
                "unsupported-media-type",
                "The body is of a type that this route does not read",
                f"send it as `Content-Type: {JSON}`",
                scope=scope,
                field="content-type",
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_readable(scope: Scope) -> bool:
    path: str = scope["path"]
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if path.startswith(_ANYTHING):
        return True
    takes_forms = path == "/login" or path in FORM_ROUTES
    return kind == JSON or (kind == FORM and takes_forms)
