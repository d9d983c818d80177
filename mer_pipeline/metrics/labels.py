"""metrics/labels.json: how far the sources of labels agree, how often each is right, and what refinement changed."""

from __future__ import annotations

from mer_pipeline.metrics.base import Figures, MetricFile


class FamilyVotes(Figures):
    """The sources of a family, and on how many clips it votes."""

    sources: tuple[str, ...]
    votes: int


class JudgeVotes(Figures):
    """On how many labelled clips a judge votes, and on how many it does not."""

    votes: int
    abstentions: int


class SourceTrust(Figures):
    """How often a source is right, as all sources together judge it, with a 95 % interval; None: it can't be judged."""

    family: str
    votes: int
    accuracy: float | None
    low: float | None
    high: float | None


class FamilyPair(Figures):
    """Agreement and Cohen's kappa of two families on the n clips that both vote on; None where it is not defined."""

    a: str
    b: str
    n: int
    agreement: float | None
    kappa: float | None


class DependentPair(Figures):
    """The agreement of two families or sources beside the agreement that their accuracies explain."""

    a: str
    b: str
    n: int
    agreement: float
    expected: float


class LabelMetrics(MetricFile):
    """What the labels stage found.

    Attributes:
        method: `labels.method` of the params.
        labelled: clips.
        changed: labels that refinement changed.
        changed_by_class: likewise, by given class.
        given_by_class: given labels.
        families: by name.
        judges: by name.
        sources: by name.
        pairs: of families.
        dependent: families that count as one where `labels.join_dependent` is on.
        within_families: sources of one family.
        warnings: sentences.
        suspect: clips that confident learning flags; 0 without a fusion-head judge.
    """

    STAGE = "labels"

    method: str
    labelled: int
    changed: int
    changed_by_class: dict[str, int]
    given_by_class: dict[str, int]
    families: dict[str, FamilyVotes]
    judges: dict[str, JudgeVotes]
    sources: dict[str, SourceTrust]
    pairs: tuple[FamilyPair, ...]
    dependent: tuple[DependentPair, ...]
    within_families: tuple[DependentPair, ...]
    warnings: tuple[str, ...]
    suspect: int
