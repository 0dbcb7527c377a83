"""From an observation to a wanted position: the network, and the rule that reads its answer.

Serving, replay and evaluation all go through `MlpPolicy.forward` and `decide`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from desk.errors import ArtifactRefused
from desk.learning.observation import Observation
from desk.market.features import FEATURE_SETS, FEATURES_V1, FeatureSet

type Weights = NDArray[np.float32]
type Layer = tuple[Weights, Weights]
"""Weight float32[out, in] and bias float32[out]."""

LEVELS = (-1.0, 0.0, 1.0)
"""What the three logits of every policy of ours stand for: short, flat, long."""

_ROWS = 64
"""Rows whose products are in memory at a time."""

LOW_CONFIDENCE = "low_confidence"
NON_FINITE_OBSERVATION = "observation_non_finite"
NON_FINITE_LOGITS = "logits_non_finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What a policy wants. When `held`, the position is kept and `target` is not to be acted on."""

    target: float
    """Level with the largest probability, -1 … +1 of the allowed size; 0 for non-finite numbers."""
    confidence: float
    """Its probability; 0 for non-finite numbers."""
    held: bool
    reason: str
    """Why it is held; empty otherwise."""
    logits: tuple[float, ...]
    version_id: str
    artifact_sha256: str = ""
    """Of the weights that answered; empty where they came from no artifact."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpPolicy:
    """A network of dense layers with tanh between them, and the levels its outputs stand for."""

    version_id: str
    algorithm: str
    is_baseline: bool
    feature_set_id: str
    levels: tuple[float, ...]
    layers: tuple[Layer, ...]
    artifact_sha256: str = ""

    @property
    def observation_size(self) -> int:
        """Values per observation, F + 1."""
        return self.layers[0][0].shape[1]

    def forward(self, observations: Observation) -> NDArray[np.float32]:
        """Return logits float32[..., K] for float32[..., F + 1]; a row's bytes depend on that row alone."""
        # Added up input by input. The products of a linear algebra library add up in an order that
        # depends on the machine, the shape and where a row stands; one decision must equal the same
        # row of a batch, and of `desk.learning.policy_lanes`, bit for bit.
        shape = np.shape(observations)[:-1]
        rows = np.asarray(observations, dtype=np.float32).reshape(-1, self.observation_size)
        logits = np.empty((len(rows), len(self.levels)), dtype=np.float32)
        for first in range(0, len(rows), _ROWS):
            values = rows[first : first + _ROWS]
            for number, (weight, bias) in enumerate(self.layers):
                inputs = np.tanh(values) if number else values
                products = np.multiply(inputs[:, :, None], weight.T, order="C")
                values = _sum_in_order(products) + bias
            logits[first : first + _ROWS] = values
        return logits.reshape(*shape, len(self.levels))

    def answer(self, observation: Observation, threshold: float) -> PolicyAnswer:
        """Decide on one observation float32[F + 1]."""
        return self.answers(np.asarray(observation)[None, :], (threshold,))[0]

    def answers(self, observations: Observation, thresholds: Sequence[float]) -> list[PolicyAnswer]:
        """Decide on float32[N, F + 1] in one forward pass; each answer is what its row gets alone."""
        is_finite = np.isfinite(observations).all(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at below
            logits = self.forward(observations[is_finite])
        limits = [limit for fine, limit in zip(is_finite, thresholds, strict=True) if fine]
        found = iter(decide_all(logits, self.levels, limits, self.version_id, self.artifact_sha256))
        held = _hold(NON_FINITE_OBSERVATION, (), self.version_id, self.artifact_sha256)
        return [next(found) if fine else held for fine in is_finite]


def decide(
    logits: NDArray[np.float32], levels: Sequence[float], threshold: float, version_id: str = ""
) -> PolicyAnswer:
    """Read one row of logits: the likeliest level, or hold below `threshold` or on non-finite numbers."""
    return decide_all(logits[None, :], levels, (threshold,), version_id)[0]


def decide_all(
    logits: NDArray[np.float32],
    levels: Sequence[float],
    thresholds: Sequence[float],
    version_id: str = "",
    artifact_sha256: str = "",
) -> list[PolicyAnswer]:
    """`decide` of each row of float32[N, K]."""
    is_finite: list[bool] = np.isfinite(logits).all(axis=1).tolist()
    with np.errstate(invalid="ignore", over="ignore"):  # rows that are not finite are not read
        chances: list[list[float]] = probabilities(logits).tolist()
    answers: list[PolicyAnswer] = []
    rows: list[list[float]] = logits.tolist()
    for values, row, fine, threshold in zip(rows, chances, is_finite, thresholds, strict=True):
        if not fine:
            answers.append(_hold(NON_FINITE_LOGITS, tuple(values), version_id, artifact_sha256))
            continue
        confidence = max(row)
        held = confidence < threshold
        answers.append(
            PolicyAnswer(
                target=float(levels[row.index(confidence)]),
                confidence=confidence,
                held=held,
                reason=LOW_CONFIDENCE if held else "",
                logits=tuple(values),
                version_id=version_id,
                artifact_sha256=artifact_sha256,
            )
        )
    return answers


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    odds = np.exp(shifted)
    return odds / odds.sum(axis=-1, keepdims=True)


def _sum_in_order(products: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums float32[N, O] of C-ordered float32[N, I, O], one input after the other.

    A reduction along the last axis in memory, which a single output makes of it, adds up in pairs.
    """
    if products.shape[2] == 1:
        return np.add.accumulate(products, axis=1)[:, -1]
    return np.add.reduce(products, axis=1)


def _hold(
    reason: str, logits: tuple[float, ...], version_id: str, artifact_sha256: str
) -> PolicyAnswer:
    return PolicyAnswer(
        target=0.0,
        confidence=0.0,
        held=True,
        reason=reason,
        logits=logits,
        version_id=version_id,
        artifact_sha256=artifact_sha256,
    )


def policy_card(
    *,
    version_id: str,
    algorithm: str,
    is_baseline: bool,
    hyperparameters: Mapping[str, Any],
    software: Mapping[str, str],
    features: FeatureSet = FEATURES_V1,
    levels: Sequence[float] = LEVELS,
    dataset_id: str = "",
    dataset_sha256: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Return the card of a policy over some features and levels; the store adds the file's sha256.

    The dataset is what it was trained on; empty for a rule that was not.
    """
    return {
        "version_id": version_id,
        "algorithm": algorithm,
        "is_baseline": is_baseline,
        "feature_set_id": features.feature_set_id,
        "observation_size": features.size + 1,
        "levels": tuple(levels),
        "activation": "tanh",
        "hyperparameters": dict(hyperparameters),
        "software": dict(software),
        "dataset_id": dataset_id,
        "dataset_sha256": dataset_sha256,
        "seed": seed,
    }


def load_policy(
    card: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    features: FeatureSet | None = None,
) -> MlpPolicy:
    """Build the policy an artifact describes; every mismatch raises `ArtifactRefused`.

    `features` is what the version was registered with, where an operator made it. Checked: the
    feature set is that one or built in, activation, levels, and that the tensors
    are exactly the float32 layers `layers.N.weight` and `.bias`, finite, and of chained shapes.
    """
    version_id = str(card.get("version_id", ""))
    known_sets = {**FEATURE_SETS, **({features.feature_set_id: features} if features else {})}
    features = known_sets.get(str(card.get("feature_set_id")))
    if features is None:
        known = ", ".join(known_sets)
        _refuse(version_id, f"feature set was {card.get('feature_set_id')!r}, expected {known}")
    if card.get("activation") != "tanh":
        _refuse(version_id, f"activation was {card.get('activation')!r}, expected 'tanh'")
    levels = _levels(version_id, card.get("levels"))
    layers = _layers(version_id, tensors)
    sizes = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
    if sizes[0] != features.size + 1 or card.get("observation_size") != sizes[0]:
        _refuse(
            version_id,
            f"observation size was {card.get('observation_size')} on the card and {sizes[0]} in the "
            f"weights, expected {features.size + 1}",
        )
    if sizes[-1] != len(levels):
        _refuse(version_id, f"the last layer had {sizes[-1]} outputs for {len(levels)} levels")
    return MlpPolicy(
        version_id=version_id,
        algorithm=str(card.get("algorithm", "")),
        is_baseline=bool(card.get("is_baseline", False)),
        feature_set_id=features.feature_set_id,
        levels=levels,
        layers=layers,
    )


def _levels(version_id: str, levels: object) -> tuple[float, ...]:
    if not isinstance(levels, (list, tuple)) or not levels:
        _refuse(version_id, f"levels were {levels!r}, expected numbers such as [-1, 0, 1]")
    numbers = tuple(float(level) for level in cast("Sequence[float]", levels))
    if any(not -1.0 <= level <= 1.0 for level in numbers) or list(numbers) != sorted(set(numbers)):
        _refuse(version_id, f"levels were {numbers}, expected rising numbers from -1 to 1")
    return numbers


def _layers(version_id: str, tensors: Mapping[str, NDArray[Any]]) -> tuple[Layer, ...]:
    depth = len(tensors) // 2
    names = {f"layers.{n}.{part}" for n in range(depth) for part in ("weight", "bias")}
    if not depth or set(tensors) != names:
        _refuse(version_id, f"tensors were {sorted(tensors)}, expected layers.0.weight, …")
    layers = [(tensors[f"layers.{n}.weight"], tensors[f"layers.{n}.bias"]) for n in range(depth)]
    inputs: int | None = None
    for number, (weight, bias) in enumerate(layers):
        fits = weight.ndim == 2 and bias.shape == weight.shape[:1] and 0 not in weight.shape
        if not fits or inputs not in (None, weight.shape[1]):
            _refuse(version_id, f"layer {number} had shapes {weight.shape} and {bias.shape}")
        if weight.dtype != np.float32 or bias.dtype != np.float32:
            _refuse(version_id, f"layer {number} was {weight.dtype}, expected float32")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            _refuse(version_id, f"layer {number} held numbers that are not finite")
        inputs = weight.shape[0]
    return tuple(layers)


def _refuse(version_id: str, problem: str) -> NoReturn:
    raise ArtifactRefused(f"artifact of {version_id or 'an unnamed version'}: {problem}")
