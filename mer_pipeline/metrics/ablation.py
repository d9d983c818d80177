"""metrics/ablation.json: what each part of the system is worth, by changing it alone and measuring again."""

from __future__ import annotations

from typing import Literal

from mer_pipeline.metrics.base import Figures, MetricFile
from mer_pipeline.metrics.scores import Score

Kind = Literal["part", "without", "alone", "head"]  # training/variants.py


class Compared(Score):
    """A variant's score, and how far its weighted F1 is from the reference's; None where it takes two groups to say.

    Attributes:
        difference: the variant's mean minus the reference's.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided, of no difference.
        p_holm: p after Holm's correction for all that are compared with the reference.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None

    @property
    def significant(self) -> bool:
        """Whether it differs from the reference at .05, after correction."""
        return self.p_holm is not None and self.p_holm < 0.05


class Reference(Figures):
    """The whole system; `true` is None where no truth is known."""

    given: Score
    true: Score | None


class Variant(Figures):
    """One variant; `true` as above."""

    kind: Kind
    head: str
    modalities: tuple[str, ...]
    given: Compared
    true: Compared | None


class AblationMetrics(MetricFile):
    """What the ablation stage measured; the fields with a default are written where it measured something.

    Attributes:
        enabled: whether the stage is on.
        empty: why it measured nothing although it is on.
        variants: by name.
        head: the reference's.
        modalities: the reference's, in token order.
        seeds: of the training.
        folds: how many there are.
        over: what is resampled.
        units: how many of them there are.
        caveat: what a reader of an interval over them must know, or "".
        reference: the whole system.
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
