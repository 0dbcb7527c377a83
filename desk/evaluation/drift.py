"""Whether a version still meets the market it was judged on: confidence, features, actions, money.

A figure of the last decisions is held against a profile of the same version on the candles it was
trained or judged on. What lasts a few hours looks unlike a week even where nothing has changed, so
the distances of features and actions are held against the largest that stretches of the profile's own
candles show, never against a textbook number alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from desk.learning.observation import observation
from desk.learning.policy import MlpPolicy, probabilities
from desk.market.features import Features

type Floats = NDArray[np.float64]
type Signs = NDArray[np.int8]
"""Wanted position of each decision: -1 short, 0 flat, +1 long."""

CONFIDENCE, FEATURES = "confidence_drift", "feature_drift"
ACTIONS, MONEY = "action_drift", "pnl_drift"

BINS = 10
"""Equally filled parts of a feature's reference: deciles."""
PSI_LIMIT = 0.25
"""Population stability index from which a shift counts as one in credit scoring, where the index
comes from (Siddiqi, Credit Risk Scorecards, 2006); the least limit there is."""
MIX_LIMIT = 0.35
"""Least total variation distance between mixes of actions that counts."""
SLACK = 1.25
"""Beyond the worst stretch of the reference: that one was the worst of a few dozen only."""
DRIFTED_SHARE = 0.25
"""Part of the features beyond their limits that counts as one drift."""
Z_LIMIT = 3.0
"""Standard errors by which the mean result of a trade lies below the expected one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimits:
    """What is asked of the last decisions of a version. Numbers of rows are decisions."""

    confidence_baseline: float = 0.5
    """Mean confidence that is expected of every version."""
    confidence_delta: float = 0.3
    """How far from it, and from the version's own, the mean may be."""
    confidence_rows: int = 30
    action_rows: int = 120
    feature_rows: int = 120
    trades: int = 20

    @property
    def rows(self) -> int:
        """Most decisions that are looked at."""
        return max(self.confidence_rows, self.action_rows, self.feature_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a version does on the candles it was trained or judged on."""

    version_id: str
    feature_names: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    """Inner edges of each feature's bins, rising; fewer where values repeat."""
    shares: tuple[tuple[float, ...], ...]
    """Part of the reference in each bin."""
    psi_limits: tuple[float, ...]
    """Of each feature: the largest index of a stretch of `DriftLimits.feature_rows`, with slack."""
    action_shares: tuple[float, float, float]
    """Short, flat, long."""
    mix_limit: float
    confidence: float
    rows: int
    pnl_per_fee: float | None = None
    """Net result for each USDT of fees, a measure that no size changes; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recent:
    """The last decisions of one version at which its policy answered, oldest first."""

    confidences: Floats
    signs: Signs
    features: Features
    """float32[N, F]."""
    trades_per_fee: Floats
    """Net result for each USDT of fees, by trade that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSignal:
    """One figure beyond its limit."""

    code: str
    metric: str
    value: float
    threshold: float
    detail: str


def profile_of(
    policy: MlpPolicy,
    features: Features,
    names: Sequence[str],
    limits: DriftLimits,
    *,
    pnl_per_fee: float | None = None,
) -> Profile | None:
    """What a policy does on float32[T, F]; rows that are not finite are left out. None: too few rows
    for three stretches."""
    rows = np.ascontiguousarray(features[np.isfinite(features).all(axis=1)])
    if len(rows) < 2 * limits.rows:
        return None
    signs, confidences = _decided(policy, rows)
    edges = [_edges(column) for column in rows.T]
    shares = [_shares(column, inner) for column, inner in zip(rows.T, edges, strict=True)]
    psi_limits = [
        max(PSI_LIMIT, SLACK * max(psi(share, _shares(part, inner)) for part in parts))
        for column, inner, share in zip(rows.T, edges, shares, strict=True)
        if (parts := _stretches(column, limits.feature_rows))
    ]
    mix = _mix(signs)
    apart = max(_variation(mix, _mix(part)) for part in _stretches(signs, limits.action_rows))
    return Profile(
        version_id=policy.version_id,
        feature_names=tuple(names),
        edges=tuple(tuple(float(edge) for edge in inner) for inner in edges),
        shares=tuple(tuple(float(share) for share in column) for column in shares),
        psi_limits=tuple(float(limit) for limit in psi_limits),
        action_shares=(float(mix[0]), float(mix[1]), float(mix[2])),
        mix_limit=max(MIX_LIMIT, SLACK * apart),
        confidence=float(confidences.mean()),
        rows=len(rows),
        pnl_per_fee=pnl_per_fee,
    )


def judge(recent: Recent, profile: Profile | None, limits: DriftLimits) -> tuple[DriftSignal, ...]:
    """Every drift that the last decisions show; what has too few rows yet is not judged.

    Without a profile only the confidence is.
    """
    found = [_confidence(recent, profile, limits)]
    if profile is not None:
        found += [
            _features(recent, profile, limits),
            _actions(recent, profile, limits),
            _money(recent, profile, limits),
        ]
    return tuple(signal for signal in found if signal is not None)


def psi(expected: Floats, actual: Floats) -> float:
    """Population stability index of two distributions over the same bins: 0 for equal ones."""
    floor = 1e-4  # an empty bin would make it infinite
    old, new = np.maximum(expected, floor), np.maximum(actual, floor)
    return float(np.sum((new - old) * np.log(new / old)))


# --- one figure each ----------------------------------------------------------------------------


def _confidence(recent: Recent, profile: Profile | None, limits: DriftLimits) -> DriftSignal | None:
    last = recent.confidences[-limits.confidence_rows :]
    if len(last) < limits.confidence_rows:
        return None
    mean = float(last.mean())
    expected = [limits.confidence_baseline, *([profile.confidence] if profile else [])]
    nearest = min(expected, key=lambda one: abs(mean - one))
    if abs(mean - nearest) <= limits.confidence_delta:
        return None
    return DriftSignal(
        code=CONFIDENCE,
        metric="mean_confidence",
        value=mean,
        threshold=limits.confidence_delta,
        detail=f"mean confidence {mean:.3f}, expected {nearest:.3f} ± {limits.confidence_delta:g}",
    )


def _features(recent: Recent, profile: Profile, limits: DriftLimits) -> DriftSignal | None:
    last = recent.features[-limits.feature_rows :]
    if len(last) < limits.feature_rows or last.shape[1] != len(profile.edges):
        return None
    indexes = [
        psi(np.asarray(share), _shares(column, np.asarray(inner)))
        for column, inner, share in zip(last.T, profile.edges, profile.shares, strict=True)
    ]
    excess = [value / most for value, most in zip(indexes, profile.psi_limits, strict=True)]
    beyond = [at for at, times in enumerate(excess) if times > 1.0]
    if len(beyond) <= DRIFTED_SHARE * len(indexes):
        return None
    worst = max(beyond, key=lambda at: excess[at])
    name = profile.feature_names[worst]
    return DriftSignal(
        code=FEATURES,
        metric=f"psi:{name}",
        value=indexes[worst],
        threshold=profile.psi_limits[worst],
        detail=f"{len(beyond)} of {len(indexes)} features have moved, most of all {name}"
        f" (PSI {indexes[worst]:.2f}, limit {profile.psi_limits[worst]:.2f})",
    )


def _actions(recent: Recent, profile: Profile, limits: DriftLimits) -> DriftSignal | None:
    last = recent.signs[-limits.action_rows :]
    if len(last) < limits.action_rows:
        return None
    mix = _mix(last)
    apart = _variation(np.asarray(profile.action_shares), mix)
    if apart <= profile.mix_limit:
        return None
    return DriftSignal(
        code=ACTIONS,
        metric="action_mix_distance",
        value=apart,
        threshold=profile.mix_limit,
        detail=f"short, flat, long were {_text(mix)}, expected"
        f" {_text(profile.action_shares)} within {profile.mix_limit:.2f}",
    )


def _money(recent: Recent, profile: Profile, limits: DriftLimits) -> DriftSignal | None:
    results = recent.trades_per_fee
    if profile.pnl_per_fee is None or len(results) < limits.trades:
        return None
    mean, error = float(results.mean()), float(results.std(ddof=1)) / len(results) ** 0.5
    least = profile.pnl_per_fee - Z_LIMIT * error
    if mean >= least:
        return None
    return DriftSignal(
        code=MONEY,
        metric="net_pnl_per_fee",
        value=mean,
        threshold=least,
        detail=f"{len(results)} trades made {mean:.2f} net for each USDT of fees, expected"
        f" {profile.pnl_per_fee:.2f} and at least {least:.2f}",
    )


# --- arithmetic ---------------------------------------------------------------------------------


def _decided(policy: MlpPolicy, features: Features) -> tuple[Signs, Floats]:
    """Signs and confidences of a policy that acts on every row: what it holds is what it wanted."""
    chances = np.stack(
        [
            probabilities(policy.forward(observation(features, np.full(len(features), held))))
            for held in (-1, 0, 1)
        ]
    )
    best, surest = chances.argmax(axis=2), chances.max(axis=2)
    level_signs = np.sign(policy.levels).astype(int).tolist()
    chosen = best.tolist()
    held, path = 0, list[int]()
    for row in range(len(features)):
        path.append(held)
        held = level_signs[chosen[held + 1][row]]
    before = np.asarray(path)
    rows = np.arange(len(features))
    signs = np.asarray(level_signs)[best[before + 1, rows]].astype(np.int8)
    return signs, surest[before + 1, rows]


def _edges(column: NDArray[np.float32]) -> Floats:
    inner = np.quantile(column.astype(np.float64), np.arange(1, BINS) / BINS)
    return np.unique(inner)


def _shares(column: NDArray[np.floating], inner: Floats) -> Floats:
    places = np.searchsorted(inner, column.astype(np.float64), side="right")
    return np.bincount(places, minlength=len(inner) + 1) / len(column)


def _mix(signs: Signs) -> Floats:
    return np.bincount(signs.astype(int) + 1, minlength=3) / len(signs)


def _variation(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).sum() / 2)


def _stretches[T: np.generic](values: NDArray[T], rows: int) -> list[NDArray[T]]:
    """Every whole stretch of so many rows, each half over the one before."""
    return [values[at : at + rows] for at in range(0, len(values) - rows + 1, max(rows // 2, 1))]


def _text(mix: Sequence[float] | Floats) -> str:
    return "/".join(f"{100 * share:.0f}" for share in mix) + " %"
