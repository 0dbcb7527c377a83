"""One prefix of a bucket through pyarrow: whole objects in and out, each within a deadline.

The retries are the vendors' own, with a budget. The deadline is ours: on Linux pyarrow's read timeout
counts for nothing, and a call that never returns must not hold what waits for it. S3's and Google's
listings show every finished write, so what was put is seen by all.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from desk.errors import FilesUnavailable

SCHEMES = ("s3", "gs")
OPTIONS = ("endpoint_override", "region", "scheme")
DEADLINE_S = 60.0
"""Of one read, write or listing, its retries included."""
CONNECT_S = 5.0
TRIES = 4
MOST_CALLS = 16
"""At once in a process, those included that were given up and still hang."""
_ACCESS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role, that may list,"
    " read, write and delete there",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or give the machine an account, that may list, read,"
    " write and delete there",
}
_REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "INVALID_CLIENT_TOKEN", "SIGNATURE", "FORBIDDEN")
_REFUSED_CODES = ("HTTP STATUS 401", "HTTP STATUS 403", "PERMISSION_DENIED", "UNAUTHENTICATED")
_NO_BUCKET = ("NO_SUCH_BUCKET", "NOSUCHBUCKET", "BUCKET DOES NOT EXIST")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketUri:
    """`s3://bucket/prefix?region=…&endpoint_override=host:port&scheme=http`, taken apart."""

    scheme: str
    bucket: str
    prefix: str
    options: tuple[tuple[str, str], ...] = ()


def parse_uri(uri: str) -> BucketUri:
    """Raises `ValueError` for anything but a bucket's URI without secrets in it."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or not parts.hostname or parts.fragment:
        raise ValueError(
            "expected a folder by its whole path, s3://bucket/prefix or gs://bucket/prefix"
        )
    if parts.username or parts.password:
        raise ValueError(f"it must not hold keys: {_ACCESS[parts.scheme]}")
    options = parse_qsl(parts.query, keep_blank_values=True)
    unknown = sorted({name for name, _ in options} - set(OPTIONS))
    if unknown:
        raise ValueError(f"there is no option {unknown[0]}: expected {', '.join(OPTIONS)}")
    if dict(options).get("scheme", "https") not in {"http", "https"}:
        raise ValueError("its option scheme must be http or https: leave it out for https")
    if ".." in parts.path.split("/"):
        raise ValueError("its prefix has `..`: name the prefix itself")
    return BucketUri(
        scheme=parts.scheme,
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        options=tuple(options),
    )


def is_bucket(files: str | None) -> bool:
    """Whether `DESK_FILES` names a bucket, not a folder."""
    return files is not None and "://" in files


class Bucket:
    """The objects under a prefix; keys are relative to it. Thread-safe."""

    def __init__(self, uri: str, *, deadline_s: float = DEADLINE_S) -> None:
        self._uri, self._deadline_s = parse_uri(uri), deadline_s
        self._root = f"{self._uri.bucket}/{self._uri.prefix}".rstrip("/")
        self.where = f"{self._uri.scheme}://{self._root}"
        self._calls = threading.BoundedSemaphore(MOST_CALLS)
        self._opening = threading.Lock()
        self._opened: Any = None

    def read(self, key: str) -> bytes | None:
        """The content of an object; None if there is none."""

        def ask() -> bytes | None:
            try:
                with self._files.open_input_stream(self._path(key)) as stream:
                    return stream.read()
            except FileNotFoundError as gone:
                if _says(gone, _NO_BUCKET):
                    raise
                return None

        return self._within("reading", key, ask)

    def put(self, key: str, content: bytes) -> None:
        """Write an object in one step: nobody sees a part of it."""

        def ask() -> None:
            with self._files.open_output_stream(self._path(key)) as stream:
                stream.write(content)

        self._within("writing", key, ask)

    def remove(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""

        def ask() -> None:
            try:
                self._files.delete_file(self._path(key))
            except FileNotFoundError as gone:
                if _says(gone, _NO_BUCKET):
                    raise

        self._within("removing", key, ask)

    def keys(self, key: str, *, recursive: bool = False) -> list[str]:
        """Keys of the objects under another one, relative to it, in order."""
        base = self._path(key)

        def ask() -> list[str]:
            fs = _pyarrow_fs()
            selector = fs.FileSelector(base, allow_not_found=True, recursive=recursive)
            found = self._files.get_file_info(selector)
            return sorted(
                info.path[len(base) + 1 :] for info in found if info.type == fs.FileType.File
            )

        return self._within("listing", key, ask)

    @property
    def _files(self) -> Any:
        with self._opening:
            if self._opened is None:
                self._opened = _open(self._uri, self._deadline_s)
            return self._opened

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".rstrip("/")

    def _within[T](self, doing: str, key: str, ask: Callable[[], T]) -> T:
        """Do it in a thread that may be left behind; at most so many of them."""
        what = f"{doing} {self.where}/{key}".rstrip("/")
        if not self._calls.acquire(timeout=self._deadline_s):
            raise self._silent(what)
        answers = SimpleQueue[tuple[T | None, OSError | None]]()

        def run() -> None:
            try:
                answers.put((ask(), None))
            except OSError as failed:
                answers.put((None, failed))
            except Exception as failed:  # noqa: BLE001 - pyarrow's own errors are no OSErrors
                answers.put((None, OSError(str(failed))))
            finally:
                self._calls.release()

        threading.Thread(target=run, name="bucket", daemon=True).start()
        try:
            value, failed = answers.get(timeout=self._deadline_s)
        except Empty:
            raise self._silent(what) from None
        if failed is not None:
            raise FilesUnavailable(f"DESK_FILES: {what} failed: {self._remedy(failed)}") from failed
        return value  # pyright: ignore[reportReturnType] - None only where T says so

    def _silent(self, what: str) -> FilesUnavailable:
        return FilesUnavailable(
            f"DESK_FILES: {what} did not end in {self._deadline_s:g} s: see whether the bucket can be"
            " reached from this machine"
        )

    def _remedy(self, failed: OSError) -> str:
        if _says(failed, _NO_BUCKET):
            return f"there is no bucket {self._uri.bucket}: make it, or name another"
        if _says(failed, (*_REFUSED, *_REFUSED_CODES)):
            return f"access was refused: {_ACCESS[self._uri.scheme]}"
        reason = " ".join(str(failed).split())[:300]
        return (
            f"see whether the bucket can be reached from this machine, and its region and"
            f" endpoint_override ({reason})"
        )


def _open(uri: BucketUri, deadline_s: float) -> Any:
    fs, options = _pyarrow_fs(), dict(uri.options)
    endpoint = {name: options[name] for name in ("endpoint_override", "scheme") if name in options}
    if uri.scheme == "gs":
        limit = timedelta(seconds=min(deadline_s, DEADLINE_S / 2))
        return fs.GcsFileSystem(retry_time_limit=limit, **endpoint)
    named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if named and not endpoint:
        parts = urlsplit(named)
        endpoint = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    return fs.S3FileSystem(
        # One request for what is small, which is nearly all: nothing is opened before it is written.
        allow_delayed_open=True,
        region=options.get("region") or os.environ.get("AWS_REGION") or None,
        connect_timeout=min(CONNECT_S, deadline_s),
        request_timeout=min(DEADLINE_S / 2, deadline_s),
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
        **endpoint,
    )


def _says(failed: OSError, words: tuple[str, ...]) -> bool:
    text = str(failed).upper()
    return any(word in text for word in words)


def _pyarrow_fs() -> Any:
    # Untyped, and 60 MB that a process whose files lie on a disk does without.
    return import_module("pyarrow.fs")
