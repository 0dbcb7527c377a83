"""The store functions' codes as Python errors, and the arguments every changing call begins with."""

import uuid
from collections.abc import Mapping

from desk.errors import BadInput, Fenced, IllegalTransition, LimitReached, VersionConflict
from desk.store.codec import to_json
from desk.store.connection import Argument
from desk.store.layout import MONEY_REQUEST_TTL_S, RETRY_REQUEST_TTL_S
from desk.store.port import Event, Fence


def envelope(
    *,
    request_id: str = "",
    fence: Fence | None = None,
    event: Event | None = None,
    remembered_s: int = MONEY_REQUEST_TTL_S,
) -> list[Argument]:
    """The first ten arguments of a changing function.

    Without a request id one is minted: it covers the adapter's own repeat after a lost reply.
    """
    request: list[Argument] = (
        [request_id, remembered_s]
        if request_id
        else ["once-" + uuid.uuid4().hex, RETRY_REQUEST_TTL_S]
    )
    owner: list[Argument] = ["", ""] if fence is None else [fence.role, fence.epoch]
    if event is None:
        return [*request, *owner, "", "", "", "", 0, ""]
    return [
        *request,
        *owner,
        event.stream.value,
        event.topic,
        event.key,
        to_json(dict, dict(event.data)),
        event.at_ms,
        event.trace_id,
    ]


def accepted(
    answer: list[bytes],
    *,
    fence: Fence | None = None,
    expected: Mapping[str, int] | None = None,
) -> list[bytes] | None:
    """What follows OK; None for DUP. Any other code is raised as its error."""
    code, *rest = answer
    match code:
        case b"OK":
            return rest
        case b"DUP":
            return None
        case b"CONFLICT":
            key = rest[0].decode()
            raise VersionConflict(key, (expected or {}).get(key, 0), int(rest[1]))
        case b"FENCED" if fence is not None:
            raise Fenced(fence.role, fence.epoch, int(rest[0]))
        case b"ILLEGAL":
            raise IllegalTransition(rest[0].decode(), f"move to {rest[1].decode()}")
        case b"LIMIT":
            raise LimitReached(rest[0].decode())
        case b"REUSED":
            raise reused_request(rest[0].decode())
        case _:
            raise ValueError(f"the store answered {answer!r}, expected one of its codes")


def reused_request(request_id: str) -> BadInput:
    """One request id stands for one change of one row."""
    return BadInput("request_id", f"{request_id} was used for another change: derive a new one")
