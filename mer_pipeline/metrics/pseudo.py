"""metrics/pseudo.json: the rule of each class for pseudo-labels, how it does out of fold, and what was taken."""

from __future__ import annotations

from pydantic import JsonValue

from mer_pipeline.metrics.base import Figures, MetricFile


class PseudoClass(Figures):
    """One class's rule.

    Attributes:
        threshold: the least probability that is taken; None: nothing is.
        support: labelled clips that pass.
        precision: the share of them that is right; None without any.
        low: its lower bound.
        checked_support: labelled clips that pass thresholds which were chosen without their own fold.
        checked_precision: the share of them that is right.
        quota: the most that may be taken.
        taken: clips.
        why: why nothing is taken.
    """

    threshold: float | None
    support: int
    precision: float | None
    low: float
    checked_support: int
    checked_precision: float | None
    quota: int
    taken: int
    why: str | None


class PseudoRound(Figures):
    """One round where no fold is held out: counts of clips, against the round before."""

    round: int
    taken: int
    added: int
    withdrawn: int
    relabelled: int
    classes: dict[str, PseudoClass]


class HeldOutFold(Figures):
    """What the head that is scored on one fold gets.

    Attributes:
        rounds: how many there were.
        taken: clips by class.
        thresholds: by class.
        families: the corroborating ones.
        excluded: the others, and why.
    """

    rounds: int
    taken: dict[str, int]
    thresholds: dict[str, float | None]
    families: tuple[str, ...]
    excluded: dict[str, str]


class PseudoMetrics(MetricFile):
    """What the pseudo stage did.

    Attributes:
        asked: the stage's params.
        pool: clips without a label.
        labelled: clips with one.
        empty: why nothing was tried; None where something was.
        rounds: with no fold held out.
        held_out: by fold, "-1" for none.
        shares: of each class, in order, among the labelled clips, and with those that were taken.
    """

    STAGE = "pseudo"

    asked: dict[str, JsonValue]
    pool: int
    labelled: int
    empty: str | None
    rounds: tuple[PseudoRound, ...]
    held_out: dict[str, HeldOutFold]
    shares: dict[str, tuple[float, ...]]
