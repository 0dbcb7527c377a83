"""What a fresh store starts with: one agent, the baseline version, a risk limit set, account guardrails."""

from collections.abc import Sequence

from actors.version_registry import ensure_baseline
from actors.wiring import LIVE, PAPER
from desk.errors import VersionConflict
from desk.ids import Pair
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.runs import Agent
from desk.store import kinds
from desk.store.places import Home
from desk.store.port import DocStore, Kind
from desk.trading.limits import default_limits, default_live_policy, default_paper_policy
from desk.wallclock import wall_ms

AGENT_ID = "desk"


def seed(store: DocStore, home: Home, pairs: Sequence[Pair]) -> None:
    """Store what is missing; what an operator changed stays as it is."""
    now_ms = wall_ms()
    ensure_baseline(home, store, AGENT_ID, now_ms)
    agent = Agent(
        agent_id=AGENT_ID,
        name="Raydesk",
        allowed_instruments=tuple(pairs),
        active_version_id=BASELINE_VERSION_ID,
    )
    limits = default_limits(effective_from_ms=now_ms)
    _once(store, kinds.AGENTS, AGENT_ID, agent, now_ms)
    _once(store, kinds.RISK_LIMITS, limits.set_id, limits, now_ms)
    _once(store, kinds.ACCOUNT_POLICIES, PAPER, default_paper_policy(PAPER), now_ms)
    _once(store, kinds.ACCOUNT_POLICIES, LIVE, default_live_policy(LIVE), now_ms)


def _once[T](store: DocStore, kind: Kind[T], key: str, value: T, now_ms: int) -> None:
    try:
        store.put(kind, key, value, at_ms=now_ms, expected_version=0)
    except VersionConflict:
        return
