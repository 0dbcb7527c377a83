"""Routes whose answer is one row that an operator may change: its version goes out as the `ETag`."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

VERSION = "row_version"


def is_tagged(route: APIRoute) -> bool:
    """Whether the answers of a route carry an `ETag`, which `If-Match` takes back."""
    model: object = route.response_model
    if not (isinstance(route, TaggedRoute) and isinstance(model, type)):
        return False
    return issubclass(model, BaseModel) and VERSION in model.model_fields


class TaggedRoute(APIRoute):
    """Sends `row_version` of the answer as its `ETag` too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler where the answer is a versioned row."""
        handle = super().get_route_handler()
        if not is_tagged(self):
            return handle

        async def handle_tagged(request: Request) -> Response:
            answer = await handle(request)
            if answer.status_code < 300:
                answer.headers["etag"] = f'"{json.loads(bytes(answer.body))[VERSION]}"'
            return answer

        return handle_tagged
