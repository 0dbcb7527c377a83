"""Files of the pages, answered from memory: a page asks for thirty of them at once."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

SMALLEST_GZIP = 500
"""Bytes from which on a file is also kept compressed."""
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    seen: tuple[int, int]
    """Time of change and size when it was read."""
    body: bytes
    packed: bytes | None
    etag: str
    media_type: str


class KeptFiles:
    """An ASGI application of the files that lie in a folder when it is made.

    A file that is changed later is read again; one that is added later is not served.
    """

    def __init__(self, folder: Path, *, cache_control: str) -> None:
        self._cache_control = cache_control
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        self._kept: dict[str, _Kept] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("Method Not Allowed", 405, headers={"Allow": "GET, HEAD"})
        root = str(scope.get("root_path", ""))
        name = str(scope["path"]).removeprefix(root).lstrip("/")
        kept = self._read(name)
        if kept is None:
            return PlainTextResponse("Not Found", 404)
        asked = {key: value for key, value in scope["headers"] if key in _READ}
        headers = {"ETag": kept.etag, "Cache-Control": self._cache_control}
        if kept.packed is not None:
            headers["Vary"] = "Accept-Encoding"
        if asked.get(b"if-none-match", b"").decode("latin-1") == kept.etag:
            return Response(status_code=304, headers=headers)
        if kept.packed is not None and b"gzip" in asked.get(b"accept-encoding", b""):
            headers["Content-Encoding"] = "gzip"
            return Response(kept.packed, headers=headers, media_type=kept.media_type)
        return Response(kept.body, headers=headers, media_type=kept.media_type)

    def _read(self, name: str) -> _Kept | None:
        path = self._paths.get(name)
        if path is None:
            return None
        try:
            found = path.stat()
            kept, seen = self._kept.get(name), (found.st_mtime_ns, found.st_size)
            if kept is None or kept.seen != seen:
                kept = _keep(path, seen)
                self._kept[name] = kept
        except OSError:
            return None
        return kept


_READ = {b"if-none-match", b"accept-encoding"}


def _keep(path: Path, seen: tuple[int, int]) -> _Kept:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= SMALLEST_GZIP else None
    known = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return _Kept(
        seen=seen,
        body=body,
        packed=packed,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        media_type=known or "application/octet-stream",
    )
