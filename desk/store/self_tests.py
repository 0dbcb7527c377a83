"""Passes for the self-test of a webhook's route: one request each, known to the store by hash alone.

Who tests the route has no feed token: those exist as hashes only. It writes the hash of a token made
for this one request, with the hashes of the feed's own tokens; the route takes it in place of a feed
token if it knows the feed by the same hashes, and uses it up. A pass opens nothing: what comes with
it is not kept.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from desk.clock import SECOND_MS
from desk.errors import VersionConflict
from desk.store import kinds
from desk.store.port import DocStore

LIFE_MS = 30 * SECOND_MS
"""A pass that was not used by then (wall) is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A pass that fits, not used yet."""

    source_id: str
    version: int
    fact: dict[str, object]


def issue(
    store: DocStore, source_id: str, token: str, feeds: Sequence[tuple[str, str]], *, now_ms: int
) -> None:
    """Let one request with this token through to the feed's route. Voids the feed's earlier pass."""
    fact = {
        "token_sha256": _sha256(token),
        "feed_sha256": _hashes_of(source_id, feeds),
        "void_ms": now_ms + LIFE_MS,
        "is_used": False,
    }
    store.put(kinds.STATE, _key(source_id), fact, at_ms=now_ms)


def find(
    store: DocStore, token: str, feeds: Sequence[tuple[str, str]], *, now_ms: int
) -> Pass | None:
    """The pass of this token, for a feed that is known here by the same hashes; looks at every feed."""
    given, found = _sha256(token), None
    for source_id in sorted({source_id for source_id, _ in feeds}):
        doc = store.get(kinds.STATE, _key(source_id))
        if doc is None or doc.value["feed_sha256"] != _hashes_of(source_id, feeds):
            continue
        fits = hmac.compare_digest(str(doc.value["token_sha256"]), given)
        if fits and not doc.value["is_used"] and now_ms < int(doc.value["void_ms"]):
            found = Pass(source_id=source_id, version=doc.version, fact=doc.value)
    return found


def use(store: DocStore, found: Pass, *, now_ms: int) -> bool:
    """Use a pass up; False if somebody else did meanwhile."""
    try:
        store.put(
            kinds.STATE,
            _key(found.source_id),
            {**found.fact, "is_used": True},
            at_ms=now_ms,
            expected_version=found.version,
        )
    except VersionConflict:
        return False
    return True


def was_used(store: DocStore, source_id: str, token: str) -> bool:
    """Whether the request with this token reached a process that works on this store."""
    doc = store.get(kinds.STATE, _key(source_id))
    return (
        doc is not None
        and bool(doc.value["is_used"])
        and hmac.compare_digest(str(doc.value["token_sha256"]), _sha256(token))
    )


def _key(source_id: str) -> str:
    return f"selftest:{source_id}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hashes_of(source_id: str, feeds: Sequence[tuple[str, str]]) -> list[str]:
    return sorted(known for name, known in feeds if name == source_id)
