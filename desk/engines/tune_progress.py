"""A training's progress as Tune wants it. Importing this module imports Ray's Tune."""

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from desk.engines.training_progress import CLONING, Tell, TrainingProgress

type Figures = Callable[[TrainingProgress], Mapping[str, float]]


def reporting(also: Figures | None = None) -> Tell:
    """Report every update's figures to the trial this runs in; Tune ends the trial by an exception.

    `also` adds figures of the caller's own, a validation result for example: each report must have
    the study's metric. A warm start's cloning is not reported.
    """
    untyped: Any = tune

    def tell(progress: TrainingProgress) -> bool:
        if progress.phase != CLONING:
            untyped.report({**progress.as_metrics(), **(also(progress) if also else {})})
        return False

    return tell
