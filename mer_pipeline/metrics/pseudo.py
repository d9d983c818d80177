"""The file metrics/pseudo.json: each class's rule for pseudo-labels, its precision, and the number of clips taken."""

from __future__ import annotations

from pydantic import JsonValue

from mer_pipeline.metrics.base import Figures, MetricFile


class PseudoClass(Figures):
    """The rule of one class.

    Attributes:
        threshold: the least probability of a clip that is taken; None if no clip can be taken.
        support: the number of labelled clips that pass.
        precision: the share of them that is right; None if no clip passes.
        low: the lower bound of the precision.
        checked_support: the number of labelled clips that pass thresholds chosen without their own fold.
        checked_precision: the share of these that is right; None if no clip passes.
        quota: the most clips that may be taken.
        taken: the number of clips that are taken.
        why: the reason that no clip can be taken, or None.
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
    """One round where no fold is held out.

    Attributes:
        round: the number of the round, from 1.
        taken: the number of clips with a pseudo-label.
        added: how many of them had none in the round before.
        withdrawn: how many clips had one in the round before and have none now.
        relabelled: how many clips had another one in the round before.
        classes: the rules by class.
    """

    round: int
    taken: int
    added: int
    withdrawn: int
    relabelled: int
    classes: dict[str, PseudoClass]


class HeldOutFold(Figures):
    """The pseudo-labels for the head that is scored on one fold.

    Attributes:
        rounds: the number of rounds.
        taken: the number of clips that are taken as each class.
        thresholds: the threshold of each class.
        families: the corroborating families.
        excluded: the reason for each family that is not among them.
    """

    rounds: int
    taken: dict[str, int]
    thresholds: dict[str, float | None]
    families: tuple[str, ...]
    excluded: dict[str, str]


class PseudoMetrics(MetricFile):
    """The result of the stage `pseudo`.

    Attributes:
        asked: the params of the stage.
        pool: the number of clips without a label.
        labelled: the number of labelled clips.
        empty: the reason that the stage did nothing, or None.
        rounds: the rounds where no fold is held out.
        held_out: the results by held-out fold; "-1" stands for none.
        shares: each class's share, in order, of the labels without and with the pseudo-labels.
    """

    STAGE = "pseudo"

    asked: dict[str, JsonValue]
    pool: int
    labelled: int
    empty: str | None
    rounds: tuple[PseudoRound, ...]
    held_out: dict[str, HeldOutFold]
    shares: dict[str, tuple[float, ...]]
