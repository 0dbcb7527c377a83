"""The venue's request limits: so many per second, then 100410, then a ban for who goes on."""

import time
from collections import deque
from collections.abc import Callable

from bingx_sim.errors import HttpRefusal, Refusal

WINDOW_S = 1.0
ABUSE_WINDOW_S = 10.0
BUDGET_WINDOW_S = 10.0
ABUSE_REFUSALS = 60
BAN_S = 60.0


class Limits:
    """Count calls per key in a sliding second. Limits grow with the market's speed."""

    def __init__(self, *, enabled: bool, now_s: Callable[[], float] = time.monotonic) -> None:
        self.enabled = enabled
        self.factor = 1.0
        """Control plane: below 1 tightens every limit."""
        self.budget = 0
        """Requests per address in ten seconds that the rate headers speak of; 0: no such headers."""
        self._budgets: dict[str, tuple[float, int]] = {}
        """Address -> when its window began, and how many requests it has made since."""
        self._now_s = now_s
        self._calls: dict[str, deque[float]] = {}
        self._refusals: dict[str, deque[float]] = {}
        self._banned_until_s: dict[str, float] = {}

    def check(self, *, caller: str, endpoint: str, per_second: int, speed: float) -> None:
        """Count one call of `caller` on `endpoint`, or refuse it."""
        if not self.enabled:
            return
        now_s = self._now_s()
        if self._banned_until_s.get(caller, 0.0) > now_s:
            raise HttpRefusal(418, '{"code":418,"msg":"ip banned for abusing the rate limit"}')
        allowed = max(1, int(per_second * max(1.0, speed) * self.factor))
        calls = self._calls.setdefault(f"{caller} {endpoint}", deque())
        _forget_before(calls, now_s - WINDOW_S)
        if len(calls) < allowed:
            calls.append(now_s)
            return
        self._count_refusal(caller, now_s)
        unblocked_ms = int((time.time() + WINDOW_S) * 1000)
        raise Refusal(
            100410,
            "code:100410:The endpoint trigger frequency limit rule is currently in the disabled "
            f"period and will be unblocked after {unblocked_ms}",
        )

    def charge(self, address: str, speed: float) -> None:
        """Count one request of an address against its budget, or refuse it."""
        if not self.budget:
            return
        now_s = self._now_s()
        began_s, used = self._budgets.get(address, (now_s, 0))
        if now_s - began_s >= BUDGET_WINDOW_S:
            began_s, used = now_s, 0
        self._budgets[address] = (began_s, used + 1)
        if used >= self._allowed(speed):
            raise Refusal(100410, "code:100410:rate limited, too many requests from this address")

    def headers(self, address: str, speed: float) -> dict[str, str]:
        """The rate headers of an answer: requests left, and the wall ms at which they are renewed."""
        if not self.budget or address not in self._budgets:
            return {}
        began_s, used = self._budgets[address]
        left_s = max(BUDGET_WINDOW_S - (self._now_s() - began_s), 0.0)
        return {
            "x-ratelimit-requests-remain": str(max(self._allowed(speed) - used, 0)),
            "x-ratelimit-requests-expire": str(int((time.time() + left_s) * 1000)),
        }

    def _allowed(self, speed: float) -> int:
        return max(1, int(self.budget * max(1.0, speed)))

    def ban(self, caller: str, seconds: float) -> None:
        self._banned_until_s[caller] = self._now_s() + seconds

    def lift(self) -> None:
        """Forget counts and bans."""
        self._calls.clear()
        self._budgets.clear()
        self._refusals.clear()
        self._banned_until_s.clear()

    def _count_refusal(self, caller: str, now_s: float) -> None:
        refusals = self._refusals.setdefault(caller, deque())
        _forget_before(refusals, now_s - ABUSE_WINDOW_S)
        refusals.append(now_s)
        if len(refusals) > ABUSE_REFUSALS:
            self.ban(caller, BAN_S)


def _forget_before(times: deque[float], bound_s: float) -> None:
    while times and times[0] <= bound_s:
        times.popleft()
