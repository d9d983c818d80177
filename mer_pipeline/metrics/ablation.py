"""The file metrics/ablation.json: how the score changes when one part of the system is changed at a time."""

from __future__ import annotations

from typing import Literal

from mer_pipeline.metrics.base import Figures, MetricFile
from mer_pipeline.metrics.scores import Score

Kind = Literal["part", "without", "alone", "head"]  # training/variants.py


class Compared(Score):
    """A variant's scores, and the difference of its weighted F1 from the reference's.

    Interval and p-values are None if there are fewer than two groups.

    Attributes:
        difference: the variant's mean weighted F1 minus the reference's.
        low: the lower end of the 95 % interval of the difference.
        high: the upper end of the interval.
        p: the two-sided p-value of "there is no difference".
        p_holm: the p-value after Holm's correction for all variants that are compared with the reference.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None

    @property
    def significant(self) -> bool:
        """Whether the variant differs from the reference at the level .05 after Holm's correction."""
        return self.p_holm is not None and self.p_holm < 0.05


class Reference(Figures):
    """The scores of the whole system; those against the true labels are None if no true label is known."""

    given: Score
    true: Score | None


class Variant(Figures):
    """One variant and its scores; those against the true labels are None if no true label is known."""

    kind: Kind
    head: str
    modalities: tuple[str, ...]
    given: Compared
    true: Compared | None


class AblationMetrics(MetricFile):
    """The result of the stage `ablation`. Fields with a default are only written if something was measured.

    Attributes:
        enabled: whether the stage is on.
        empty: the reason that nothing was measured although the stage is on.
        variants: the variants by name.
        head: the reference's head.
        modalities: the reference's modalities, in the order of the tokens.
        seeds: the seeds of the training.
        folds: the number of folds.
        over: whether groups or clips are resampled.
        units: the number of groups or clips that are resampled.
        caveat: a warning about intervals over these units, or "".
        reference: the scores of the whole system.
    """

    STAGE = "ablation"

    enabled: bool
    empty: str | None
    variants: dict[str, Variant]
    head: str = ""
    modalities: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    folds: int = 0
    over: Literal["groups", "clips"] = "groups"
    units: int = 0
    caveat: str = ""
    reference: Reference | None = None
