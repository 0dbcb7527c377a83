"""How far a training is: what people, jobs and Tune are told after every update."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

CLONING, TRAINING = "cloning", "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Where a training stands. None: no figure yet, or none that the algorithm has."""

    steps: int
    total_steps: int
    episodes: int
    """Finished so far."""
    reward_mean: float | None
    """Mean return of recently finished episodes, in the environment's unit."""
    entropy: float | None
    """Of the policy, nats."""
    kl: float | None
    """Between the policies before and after the last update, nats."""
    steps_per_s: float
    eta_s: float
    """Wall seconds left at this speed."""
    updates: int = 0
    """Batches learnt from, those before a resume included."""
    value_loss: float | None = None
    """Of the critic, or of DQN's values, in the square of the reward's unit."""
    reward_terms: Mapping[str, float] = field(default_factory=dict[str, float])
    """Mean per step of what the last batch's rewards were made of, by name; they add up to the reward."""
    phase: str = TRAINING
    """`cloning` while a policy is made like the rule."""
    agreement: float | None = None
    """Part of held-out observations on which the clone does what the rule does."""
    resumed_from_steps: int = 0
    """Where this process took the training up; 0: at its beginning."""

    def as_metrics(self) -> dict[str, float]:
        """Every figure there is as a flat mapping, for `tune.report` and a job's row."""
        figures: dict[str, float | None] = {
            "steps": float(self.steps),
            "total_steps": float(self.total_steps),
            "updates": float(self.updates),
            "episodes": float(self.episodes),
            "reward_mean": self.reward_mean,
            "entropy": self.entropy,
            "kl": self.kl,
            "value_loss": self.value_loss,
            "agreement": self.agreement,
            "steps_per_s": self.steps_per_s,
            "remaining_s": self.eta_s,
            "resumed_from_steps": float(self.resumed_from_steps),
            **{f"reward_{name}": value for name, value in self.reward_terms.items()},
        }
        return {name: value for name, value in figures.items() if value is not None}


type Tell = Callable[[TrainingProgress], bool]
"""Told after every update; True cancels."""


def described(progress: TrainingProgress) -> str:
    """One line for people: reward and its terms, entropy, KL, loss, speed."""
    figures: dict[str, float | None] = {
        "reward": progress.reward_mean,
        **{name: value for name, value in progress.reward_terms.items() if value},
        "entropy": progress.entropy,
        "KL": progress.kl,
        "value loss": progress.value_loss,
        "agreement": progress.agreement,
    }
    known = [f"{name} {value:.3g}" for name, value in figures.items() if value is not None]
    phase = [] if progress.phase == TRAINING else [progress.phase]
    return " · ".join([*phase, *known, f"{progress.steps_per_s:,.0f} steps/s"])
