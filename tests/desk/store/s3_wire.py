"""An S3 that speaks as much of the wire as a bucket of files needs, and misbehaves on demand.

It shares no code with what it tests: pyarrow's client, which is AWS's own, talks to it. The nightly
tests say the same of moto, which others wrote.
"""

import hashlib
import io
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "desk"


class S3Wire:
    """One bucket in memory. `fail` is asked before each request: a status to answer with, or None."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        """Of uploads that are not complete yet: nobody sees them."""
        self.requests: list[tuple[str, str]] = []
        """Method and key, as they came."""
        self.fail: Callable[[str, str], int | None] = lambda _method, _key: None
        self.hangs_s = 0.0
        self.access_key = "raydesk-test"
        self.turn = threading.Lock()
        wire = self

        class Handler(_Handler):
            s3 = wire

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def uri(self, prefix: str = "prod") -> str:
        """For `DESK_FILES`."""
        return (
            f"s3://{BUCKET}/{prefix}?region=eu-west-1&endpoint_override={self.endpoint}&scheme=http"
        )

    def listed(self) -> list[str]:
        with self.turn:
            return sorted(self.objects)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    s3: S3Wire
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `requests` has it all."""

    def do_GET(self) -> None:
        bucket, key = self._asked()
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if bucket is None:
            return
        if "list-type" in query:
            self._list(query)
            return
        with self.s3.turn:
            content = self.s3.objects.get(key)
        if content is None:
            self._error(404, "NoSuchKey")
            return
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range")
        if asked:
            begin, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self._body(part)

    def do_HEAD(self) -> None:
        bucket, key = self._asked()
        if bucket is None:
            return
        with self.s3.turn:
            content = self.s3.objects.get(key)
        found = content is not None or not key
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", f'"{hashlib.md5(content or b"").hexdigest()}"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 00:00:00 GMT")
        self.end_headers()

    def do_PUT(self) -> None:
        content = self._sent()
        bucket, key = self._asked()
        if bucket is None:
            return
        query = parse_qs(urlsplit(self.path).query)
        with self.s3.turn:
            if "partNumber" in query:
                number = int(query["partNumber"][0])
                self.s3.parts[query["uploadId"][0], number] = content
            else:
                self.s3.objects[key] = content
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self._body(b"")

    def do_POST(self) -> None:
        self._sent()
        bucket, key = self._asked()
        if bucket is None:
            return
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "uploads" in query:
            with self.s3.turn:
                upload = f"up{len(self.s3.requests)}"
            self._xml(
                f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
            return
        upload = query["uploadId"][0]
        with self.s3.turn:
            numbers = sorted(number for name, number in self.s3.parts if name == upload)
            self.s3.objects[key] = b"".join(self.s3.parts.pop((upload, n)) for n in numbers)
        self._xml(
            f"<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
            '<ETag>"done"</ETag></CompleteMultipartUploadResult>'
        )

    def do_DELETE(self) -> None:
        bucket, key = self._asked()
        if bucket is None:
            return
        with self.s3.turn:
            self.s3.objects.pop(key, None)
        self.send_response(204)
        self.end_headers()

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        files, folders = list[str](), set[str]()
        for key in self.s3.listed():
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                files.append(key)
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-26T00:00:00.000Z</LastModified>"
            f'<ETag>"e"</ETag><Size>{len(self.s3.objects[key])}</Size></Contents>'
            for key in files
        ) + "".join(
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
            for one in sorted(folders)
        )
        self._xml(
            f"<ListBucketResult><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(files) + len(folders)}</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        )

    def _asked(self) -> tuple[str | None, str]:
        """The bucket and key, once the request may be served; None after an error was sent."""
        bucket, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        with self.s3.turn:
            self.s3.requests.append((self.command, key))
        time.sleep(self.s3.hangs_s)
        status = self.s3.fail(self.command, key)
        if status is not None:
            self._error(status, "SlowDown" if status == 503 else "InternalError")
        elif f"Credential={self.s3.access_key}/" not in self.headers.get("Authorization", ""):
            self._error(403, "AccessDenied")
        elif bucket != BUCKET:
            self._error(404, "NoSuchBucket")
        else:
            return bucket, key
        return None, key

    def _sent(self) -> bytes:
        """The body, out of HTTP's chunks and out of AWS's inside of them."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = _unchunked(self.rfile)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        is_wrapped = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return _unchunked(io.BytesIO(content)) if is_wrapped else content

    def _error(self, status: int, code: str) -> None:
        self._xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)

    def _xml(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self._body(b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode())

    def _body(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _unchunked(stream: io.BufferedIOBase | BinaryIO) -> bytes:
    parts = list[bytes]()
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    while stream.readline().strip():  # trailers: checksums
        pass
    return b"".join(parts)
