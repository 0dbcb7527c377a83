"""Where a long training stood, as files: written whole or not at all, checked when read, a few kept.

A checkpoint is one safetensors file. Its arrays are the tensors, the rest is JSON in its head, and
nothing is ever unpickled. The file's name carries the sha256 of its bytes.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from desk.errors import BadInput
from desk.store.durable import publish

log = structlog.stdlib.get_logger()

FOLDER = "checkpoints"
FORMAT = 1
_NAME = re.compile(r"(\d{10})\.([0-9a-f]{64})\.safetensors$")
_LENGTH_BYTES = 8
"""Of the length of the JSON head that a safetensors file begins with."""
_ARRAY = "$array"
"""Key of the one-entry object that stands for an array in the JSON part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFolder:
    """The checkpoints of one training. One process at a time writes."""

    folder: Path
    fingerprint: str
    """Of all that the training depends on; a checkpoint of another one is refused."""
    every_updates: int = 10
    """Updates between two checkpoints: what a kill loses at most."""
    keep: int = 2
    """Newest ones that stay."""

    def __post_init__(self) -> None:
        for name in ("every_updates", "keep"):
            if getattr(self, name) < 1:
                raise BadInput(name, f"was {getattr(self, name)}, expected at least 1")

    def save(self, update: int, state: Mapping[str, Any]) -> Path:
        """Write the state after an update, then drop the oldest ones beyond `keep`.

        `state` is made of dicts with text keys, lists, numpy arrays and numbers, texts and None.
        """
        arrays: dict[str, NDArray[Any]] = {}
        head = {"fingerprint": self.fingerprint, "format": FORMAT, "state": _taken(state, arrays)}
        content = save(arrays, metadata={"desk": json.dumps(head)})
        path = self.folder / f"{update:010d}.{hashlib.sha256(content).hexdigest()}.safetensors"
        publish(path, content)
        for _, old in self._found()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def load(self) -> dict[str, Any] | None:
        """The newest state whose bytes are those that were written; None where there is none.

        Raises `BadInput` for one that another training wrote: its candles or its numbers have changed.
        """
        for _, path in self._found():
            content = path.read_bytes()
            match = _NAME.fullmatch(path.name)
            if match is None or hashlib.sha256(content).hexdigest() != match[2]:
                log.warning("checkpoint_damaged", path=str(path))
                continue
            try:
                head, arrays = _read(content)
            except (SafetensorError, ValueError, KeyError) as broken:
                log.warning("checkpoint_unreadable", path=str(path), error=str(broken))
                continue
            if head.get("format") != FORMAT or head.get("fingerprint") != self.fingerprint:
                raise BadInput(
                    "checkpoint",
                    f"{path.name} was written by another training: its candles, feature set, numbers or"
                    " software changed since; start a new training",
                )
            return _given(head["state"], arrays)
        return None

    def clear(self) -> None:
        """Remove every checkpoint; the training ended."""
        for _, path in self._found():
            path.unlink(missing_ok=True)

    def _found(self) -> list[tuple[int, Path]]:
        """Checkpoints by update, newest first."""
        if not self.folder.is_dir():
            return []
        matches = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        return sorted(((int(m[1]), path) for m, path in matches if m), reverse=True)


def _read(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    size = int.from_bytes(content[:_LENGTH_BYTES], "little")
    head: dict[str, Any] = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + size])
    return json.loads(head["__metadata__"]["desk"]), load(content)


def _taken(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """A value as JSON, its arrays moved to `arrays`."""
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        if any(not isinstance(key, str) for key, _ in items):
            raise TypeError(f"keys were {list(cast('Mapping[Any, Any]', value))}, expected texts")
        return {key: _taken(part, arrays) for key, part in items}
    if isinstance(value, np.ndarray):
        name = f"{len(arrays):06d}"
        array = cast("NDArray[Any]", value)
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
        return {_ARRAY: name}
    if isinstance(value, list | tuple):
        return [_taken(part, arrays) for part in cast("Sequence[Any]", value)]
    if isinstance(value, np.generic):
        return cast("Any", value).item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _given(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if set(items) == {_ARRAY}:
            return arrays[items[_ARRAY]].copy()
        return {key: _given(part, arrays) for key, part in items.items()}
    if isinstance(value, list):
        return [_given(part, arrays) for part in cast("list[Any]", value)]
    return value
