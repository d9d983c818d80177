"""The file metrics/labels.json: the agreement and accuracy of the sources of labels, and what refinement changed."""

from __future__ import annotations

from mer_pipeline.metrics.base import Figures, MetricFile


class FamilyVotes(Figures):
    """The names of a family's sources, and the number of clips on which the family votes."""

    sources: tuple[str, ...]
    votes: int


class JudgeVotes(Figures):
    """The number of labelled clips on which a judge votes, and of those on which it abstains."""

    votes: int
    abstentions: int


class SourceTrust(Figures):
    """The accuracy of a source, as all sources together judge it, with a 95 % interval; None if it is unknown."""

    family: str
    votes: int
    accuracy: float | None
    low: float | None
    high: float | None


class CrowdFigures(Figures):
    """A family with several raters on a clip: their mean number, how often one of them is right (measured beside the
    given labels), the correlation of two of them, and how many independent raters they are worth."""

    raters: float
    accuracy: float
    correlation: float
    worth: float


class FamilyPair(Figures):
    """The agreement and Cohen's kappa of two families on the n clips that both vote on; None where undefined."""

    a: str
    b: str
    n: int
    agreement: float | None
    kappa: float | None


class DependentPair(Figures):
    """The agreement of two families or sources on n clips, and the agreement that their accuracies explain."""

    a: str
    b: str
    n: int
    agreement: float
    expected: float


class LabelMetrics(MetricFile):
    """The result of the stage `labels`.

    Attributes:
        method: the value of `labels.method` in params.yaml.
        labelled: the number of labelled clips.
        changed: the number of labels that refinement changed.
        changed_by_class: the same number for each class of the given label.
        given_by_class: the number of given labels of each class.
        families: the families by name.
        judges: the judges by name.
        sources: the source accuracies by name of the source.
        crowds: the families with several raters on a clip, by name.
        pairs: all pairs of families, of the first twelve.
        dependent: the pairs of dependent families, which count as one if `labels.join_dependent` is on.
        within_families: the pairs of sources of one family.
        warnings: sentences about dependent families and sources, and about what the votes can't tell.
        suspect: the number of suspect clips; 0 without a fusion-head judge.
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
    crowds: dict[str, CrowdFigures]
    pairs: tuple[FamilyPair, ...]
    dependent: tuple[DependentPair, ...]
    within_families: tuple[DependentPair, ...]
    warnings: tuple[str, ...]
    suspect: int
