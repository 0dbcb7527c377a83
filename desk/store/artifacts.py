"""Policy artifacts on disk: a folder per version with tensors and a card, checked when loaded.

Nothing here is ever unpickled: tensors are safetensors, the card is JSON.

On shared storage a version is put once, its card last, and never changed. Each machine keeps copies of
the versions it looked at, so that a decision rests on its own disk.
"""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from desk.errors import ArtifactRefused, DeskError
from desk.store.codec import from_json, to_json
from desk.store.durable import publish, sync_folder
from desk.store.folders import Folder

TENSORS = "policy.safetensors"
CARD = "card.json"
MOST_BYTES = 64 << 20
"""Largest file of an artifact that is read: a policy of ours has some ten thousand numbers."""
_FETCHING: dict[tuple[Path, str], threading.Thread] = {}
"""Copies that somebody did not wait for, by root and version: one at a time of each."""
_FETCHING_LOCK = threading.Lock()
_log = structlog.get_logger(__name__)
_VERSION_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactCard:
    """What a policy is and expects; `sha256` is of the tensor file."""

    version_id: str
    algorithm: str
    is_baseline: bool
    feature_set_id: str
    observation_size: int
    levels: tuple[float, ...]
    """Position levels, one per logit."""
    activation: str = "tanh"
    """Between layers; none after the last."""
    sha256: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    dataset_id: str = ""
    """What it was trained on; empty for a stated rule."""
    dataset_sha256: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artifact:
    """A loaded policy: per layer weight float32[out, in] and bias float32[out], first to last."""

    card: ArtifactCard
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    tensor_bytes: int
    card_sha256: str


class Artifacts:
    """The artifacts under one root folder (`DESK_HOME/artifacts`), or those of `origin` with copies
    there. With `patience_s` a version that is not here yet is waited for so long, and refused then;
    its copy goes on being made."""

    def __init__(
        self, root: Path, origin: Folder | None = None, *, patience_s: float | None = None
    ) -> None:
        self._root, self._origin, self._patience_s = root, origin, patience_s

    def write(self, card: ArtifactCard, tensors: Mapping[str, NDArray[np.float32]]) -> ArtifactCard:
        """Publish an artifact in one step; returns the card with the hash of the tensors.

        `tensors` are named `layers.<n>.weight` and `layers.<n>.bias`. Writing the same artifact
        again changes nothing; raises `ArtifactRefused` for another one under a taken version id.
        """
        written = self._write(card, tensors)
        self._hand_on(card.version_id)
        return written

    def _write(
        self, card: ArtifactCard, tensors: Mapping[str, NDArray[np.float32]]
    ) -> ArtifactCard:
        folder = self._folder(card.version_id)
        _layers(card, tensors)
        content = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
        finished = replace(card, sha256=hashlib.sha256(content).hexdigest())
        if folder.exists() or self._fetch(card.version_id):
            return self._taken(finished)
        text = to_json(ArtifactCard, finished)
        return finished if self._place(folder, content, text) else self._taken(finished)

    def read(
        self,
        version_id: str,
        *,
        expected_sha256: str | None = None,
        expected_card_sha256: str | None = None,
        feature_set_id: str | None = None,
    ) -> Artifact:
        """Load an artifact. Raises `ArtifactRefused` unless it is whole and the one expected.

        `expected_sha256` and `expected_card_sha256` are the hashes the version was registered with,
        `feature_set_id` what the caller computes; None leaves the check out.
        """
        text = self._bytes(version_id, CARD)
        card, card_sha256 = _card(version_id, text), hashlib.sha256(text).hexdigest()
        if expected_card_sha256 not in {None, card_sha256}:
            raise ArtifactRefused(
                f"artifact {version_id}: {CARD} has sha256 {card_sha256}, expected"
                f" {expected_card_sha256}: it was edited, restore it or use another version"
            )
        content = self._bytes(version_id, TENSORS)
        found = hashlib.sha256(content).hexdigest()
        for wanted in (card.sha256, expected_sha256):
            if wanted is not None and found != wanted:
                raise ArtifactRefused(
                    f"artifact {version_id}: {TENSORS} has sha256 {found}, expected {wanted}:"
                    " the file was changed or damaged, restore it or use another version"
                )
        if feature_set_id not in {None, card.feature_set_id}:
            raise ArtifactRefused(
                f"artifact {version_id} was trained on feature set {card.feature_set_id}, this desk"
                f" computes {feature_set_id}: use a version of that feature set"
            )
        try:
            tensors = load(content)
        except SafetensorError as wrong:
            raise ArtifactRefused(
                f"artifact {version_id}: {TENSORS} was unreadable: {wrong}"
            ) from wrong
        return Artifact(
            card=card,
            layers=_layers(card, tensors),
            tensor_bytes=len(content),
            card_sha256=card_sha256,
        )

    def card(self, version_id: str) -> ArtifactCard:
        """What the artifact says of itself, without loading its tensors."""
        return _card(version_id, self._bytes(version_id, CARD))

    def path(self, version_id: str) -> Path:
        """The artifact's folder on this machine. Raises `ArtifactRefused` when there is none."""
        folder = self._folder(version_id)
        if not folder.is_dir() and not self._fetched_in_time(version_id):
            place = self._root if self._origin is None else self._origin.where
            raise ArtifactRefused(f"there is no artifact {version_id} in {place}")
        return folder

    def uri(self, version_id: str) -> str:
        """Where the artifact lies for all who may load it. Raises `ArtifactRefused` when it does not."""
        folder = self.path(version_id)
        where = folder.as_uri() if self._origin is None else self._origin.sub(version_id).where
        return where if "://" in where else Path(where).as_uri()

    def _place(self, folder: Path, tensors: bytes, card: bytes) -> bool:
        """Publish both files in one step; false where somebody was quicker."""
        self._root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self._root, prefix=".draft-"))
        try:
            publish(draft / TENSORS, tensors)
            publish(draft / CARD, card)
            draft.chmod(0o755)
            os.rename(draft, folder)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not folder.exists():
                raise
            return False
        sync_folder(self._root)
        return True

    def _hand_on(self, version_id: str) -> None:
        """Put this machine's copy on shared storage, the card last; what is there must be the same."""
        if self._origin is None:
            return
        there, text = self._origin.sub(version_id), self._bytes(version_id, CARD)
        present = there.read(CARD)
        if present is None:
            there.put(TENSORS, self._bytes(version_id, TENSORS))
            there.put(CARD, text)
        elif present != text:
            raise ArtifactRefused(
                f"artifact {version_id} exists with other content in {self._origin.where}: choose a"
                " new version id"
            )

    def _fetched_in_time(self, version_id: str) -> bool:
        if self._origin is None or self._patience_s is None:
            return self._fetch(version_id)
        with _FETCHING_LOCK:
            thread = _FETCHING.get((self._root, version_id))
            if thread is None or not thread.is_alive():
                thread = threading.Thread(
                    target=self._fetch_quietly, args=(version_id,), name="artifact", daemon=True
                )
                _FETCHING[self._root, version_id] = thread
                thread.start()
        thread.join(self._patience_s)
        return self._folder(version_id).is_dir()

    def _fetch_quietly(self, version_id: str) -> None:
        try:
            self._fetch(version_id)
        except (DeskError, OSError) as failed:
            _log.warning("artifact_not_fetched", version_id=version_id, error=str(failed))

    def _fetch(self, version_id: str) -> bool:
        """Copy a version from shared storage to this machine; false where there is none."""
        if self._origin is None:
            return False
        there = self._origin.sub(version_id)
        text = there.read(CARD)
        content = None if text is None else there.read(TENSORS)
        if text is None or content is None:
            return False
        if max(len(text), len(content)) > MOST_BYTES:
            raise ArtifactRefused(
                f"artifact {version_id} in {self._origin.where} has more than {MOST_BYTES:,} bytes: it"
                " is none of ours"
            )
        wanted = _card(version_id, text).sha256
        if hashlib.sha256(content).hexdigest() != wanted:
            raise ArtifactRefused(
                f"artifact {version_id} in {self._origin.where} does not have its card's sha256: restore"
                " it or use another version"
            )
        self._place(self._folder(version_id), content, text)
        return True

    def _bytes(self, version_id: str, name: str) -> bytes:
        path = self.path(version_id) / name
        if path.is_symlink() or not path.is_file():
            raise ArtifactRefused(f"artifact {version_id}: {name} is missing")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ArtifactRefused(
                f"artifact {version_id}: {name} has more than {MOST_BYTES:,} bytes: it is none of ours"
            )
        return content

    def _folder(self, version_id: str) -> Path:
        if not _VERSION_ID.fullmatch(version_id) or ".." in version_id:
            raise ArtifactRefused(
                f"version id was {version_id!r}, expected letters, digits, dots, dashes, underscores"
            )
        folder = self._root / version_id
        if folder.is_symlink():
            raise ArtifactRefused(f"artifact {version_id} is a link: links are not followed")
        return folder

    def _taken(self, finished: ArtifactCard) -> ArtifactCard:
        present = self.card(finished.version_id)
        if present != finished:
            raise ArtifactRefused(
                f"artifact {finished.version_id} exists with other content: choose a new version id"
            )
        return present


def _card(version_id: str, text: bytes) -> ArtifactCard:
    try:
        card = from_json(ArtifactCard, text)
    except ValueError as wrong:
        raise ArtifactRefused(f"artifact {version_id}: {CARD} was unreadable: {wrong}") from wrong
    if card.version_id != version_id:
        raise ArtifactRefused(
            f"artifact {version_id}: {CARD} names version {card.version_id}, expected its folder's"
        )
    return card


def _layers(
    card: ArtifactCard, tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
    """The layers in order, with every shape checked against the card."""
    count = len(tensors) // 2
    names = {f"layers.{n}.{part}" for n in range(count) for part in ("weight", "bias")}
    if not tensors or set(tensors) != names:
        raise ArtifactRefused(
            f"artifact {card.version_id} holds tensors {', '.join(sorted(tensors))}, expected"
            " layers.0.weight, layers.0.bias, and so on"
        )
    width, layers = card.observation_size, list[tuple[NDArray[np.float32], NDArray[np.float32]]]()
    for n in range(count):
        weight, bias = tensors[f"layers.{n}.weight"], tensors[f"layers.{n}.bias"]
        if weight.dtype != np.float32 or bias.dtype != np.float32:
            raise ArtifactRefused(f"artifact {card.version_id}: layer {n} was not float32")
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ArtifactRefused(
                f"artifact {card.version_id}: layer {n} has weight {weight.shape} and bias"
                f" {bias.shape}, expected {width} inputs"
            )
        width = weight.shape[0]
        layers.append((weight, bias))
    if width != len(card.levels):
        raise ArtifactRefused(
            f"artifact {card.version_id} gives {width} logits, expected {len(card.levels)}"
        )
    return tuple(layers)
