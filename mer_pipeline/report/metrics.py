"""The metric files of the stages, and the three bases a score can stand on.

    test    predictions of test candidates          against their true labels
    given   out-of-fold predictions, training clips against the given (noisy) labels
    true    out-of-fold predictions, training clips against their true labels

Scores of different bases are never compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mer_pipeline.train_params import VISUAL

Basis = Literal["test", "given", "true"]
BASES: tuple[Basis, ...] = ("test", "given", "true")


class _Read(BaseModel):
    """A part of a metric file; keys that the report does not show are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Interval(_Read):
    """The middle 95 % of the weighted F1 over resamples of `n` groups or clips."""

    low: float
    high: float
    over: Literal["groups", "clips"]
    n: int


class Score(_Read):
    """Means over seeds; fractions in 0..1."""

    n: int
    weighted_f1: float
    macro_f1: float
    uar: float
    weighted_f1_sd: float = 0.0
    interval: Interval | None = None


class Bin(_Read):
    """Clips of about one confidence: its mean, and how often they are right."""

    n: int
    confidence: float
    accuracy: float


class Calibration(_Read):
    """Errors of calibration of a head's probabilities, as it says them and tempered."""

    n: int
    ece: float
    ece_tempered: float
    ece_if_calibrated: float  # what a calibrated head would show on so many clips
    log_loss: float
    log_loss_tempered: float
    bins: tuple[Bin, ...]
    bins_tempered: tuple[Bin, ...]


class HeadDetail(_Read):
    """What is said of a head out of fold beside its scores."""

    temperature: float
    calibration: Calibration


class Searched(_Read):
    """What a search for settings found; scores are weighted F1 on the given labels."""

    trials: int
    nested: float
    unnested: float
    optimism: float
    as_they_stand: float


class OutOfFold(_Read):
    """One head's cross-validated scores."""

    given: Score | None = None
    true: Score | None = None
    out_of_fold: HeadDetail | None = None
    search: Searched | None = None


class Agreement(_Read):
    """Share of training clips whose label equals the true one, before and after refinement."""

    given: float
    refined: float


class LabelCounts(_Read):
    """What the labels stage changed."""

    changed: int = 0
    agreement_with_true: Agreement | None = None


class TrainMetrics(_Read):
    """metrics/train.json."""

    classes: tuple[str, ...]
    modalities: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()  # those that are made of several modalities already
    merged: tuple[str, ...] = ()  # encoders that are one of them, VISUAL
    folds: int = 0
    folds_asked: int = 0
    folds_note: str = ""  # what a reader of the scores must know
    labelled: int = 0
    seeds: tuple[int, ...] = ()
    selected: str | None = None
    search_note: str = ""  # why nothing was searched for
    heads: dict[str, OutOfFold] = {}
    single: dict[str, dict[str, OutOfFold]] = {}
    labels: LabelCounts = LabelCounts()
    empty: str | None = None

    @property
    def encoders(self) -> tuple[str, ...]:
        """Whose features the modalities are, in token order."""
        each = (self.merged if self.merged and name == VISUAL else (name,) for name in self.modalities)
        return tuple(name for names in each for name in names)


class ClassScore(_Read):
    """One class of the detailed result."""

    precision: float
    recall: float
    f1: float
    support: int


class Detail(_Read):
    """The predictions themselves, scored: one label per clip, seeds and folds already combined."""

    n: int
    weighted_f1: float
    interval: Interval | None = None
    calibration: Calibration | None = None
    per_class: dict[str, ClassScore]
    confusion: tuple[tuple[int, ...], ...]  # rows true, columns predicted, in the order of the classes


class TestScores(_Read):
    """Scores on the test candidates whose truth is known."""

    heads: dict[str, Score] = {}
    single: dict[str, dict[str, Score]] = {}
    selected: Detail


class PredictMetrics(_Read):
    """metrics/predict.json."""

    selected: str | None = None
    test: TestScores | None = None
    candidates: int = 0
    pool: int = 0
    flagged: int = 0


class SourceTrust(_Read):
    """How often a source of labels is right, as all sources judge it, with a 95% interval; None: nobody to judge it."""

    family: str
    votes: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


class FamilyPair(_Read):
    """Agreement of two families on the n clips that both vote on; None where it is not defined."""

    a: str
    b: str
    n: int
    agreement: float | None = None
    kappa: float | None = None


class AgreementMetrics(_Read):
    """metrics/labels.json."""

    sources: dict[str, SourceTrust] = {}
    pairs: tuple[FamilyPair, ...] = ()
    warnings: tuple[str, ...] = ()


class PseudoClass(_Read):
    """One class's rule for pseudo-labels, and how it does on labelled clips out of fold."""

    threshold: float | None
    support: int
    precision: float | None
    low: float
    quota: int
    taken: int
    why: str | None


class PseudoRound(_Read):
    """One round, all labels seen."""

    round: int
    taken: int
    classes: dict[str, PseudoClass]


class PseudoMetrics(_Read):
    """metrics/pseudo.json."""

    pool: int = 0
    empty: str | None = None
    rounds: tuple[PseudoRound, ...] = ()


class Compared(Score):
    """A variant's score and its difference from the reference's."""

    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def marked(self) -> bool:
        """Whether it is significantly different, after correction."""
        return self.p_holm is not None and self.p_holm < 0.05


class Ablated(_Read):
    """One variant; what is `true` is None where no truth is known."""

    kind: str
    given: Compared
    true: Compared | None = None

    def on(self, basis: Basis) -> Compared | None:
        """Its score on a basis."""
        return self.given if basis == "given" else self.true


class Whole(_Read):
    """The whole system."""

    given: Score
    true: Score | None = None

    def on(self, basis: Basis) -> Score | None:
        """Its score on a basis."""
        return self.given if basis == "given" else self.true


class AblationMetrics(_Read):
    """metrics/ablation.json."""

    enabled: bool = False
    empty: str | None = None
    head: str = ""
    seeds: tuple[int, ...] = ()
    over: str = "groups"
    units: int = 0
    caveat: str = ""
    reference: Whole | None = None
    variants: dict[str, Ablated] = {}


@dataclass(frozen=True)
class Metrics:
    """The files together, scores asked by basis."""

    train: TrainMetrics
    predict: PredictMetrics | None
    pseudo: PseudoMetrics | None = None

    def fused(self, basis: Basis) -> dict[str, Score]:
        """Scores of the heads on all modalities, best first."""
        test = self.predict.test if self.predict else None
        if basis == "test":
            return _ranked(dict(test.heads) if test else {})
        return _ranked(_on(self.train.heads, basis))

    def single(self, basis: Basis) -> dict[str, dict[str, Score]]:
        """Scores of the heads on one modality each, by modality in token order; heads best first."""
        test = self.predict.test if self.predict else None
        if basis == "test":
            found = {name: _ranked(dict(heads)) for name, heads in test.single.items()} if test else {}
        else:
            found = {name: _ranked(_on(heads, basis)) for name, heads in self.train.single.items()}
        order = {name: at for at, name in enumerate(self.train.modalities)}
        return {name: found[name] for name in sorted(found, key=lambda n: (order.get(n, len(order)), n)) if found[name]}

    @property
    def basis(self) -> Basis:
        """What the headline stands on: the test where its truth is known, else out-of-fold on given labels."""
        return "test" if self.fused("test") else "given"

    @property
    def selected(self) -> str | None:
        """The head whose predictions are used."""
        return None if self.train.empty else self.train.selected


def confusion_detail(classes: tuple[str, ...], pairs: list[tuple[str, str]]) -> Detail:
    """Score (true, predicted) pairs; a class without support or without predictions scores 0 there."""
    counts = [[0] * len(classes) for _ in classes]
    for actual, predicted in pairs:
        counts[classes.index(actual)][classes.index(predicted)] += 1
    per_class: dict[str, ClassScore] = {}
    for at, name in enumerate(classes):
        hit, support, said = counts[at][at], sum(counts[at]), sum(row[at] for row in counts)
        f1 = 2 * hit / (support + said) if support + said else 0.0
        per_class[name] = ClassScore(
            precision=hit / said if said else 0.0, recall=hit / support if support else 0.0, f1=f1, support=support
        )
    weighted = sum(score.f1 * score.support for score in per_class.values()) / max(1, len(pairs))
    return Detail(n=len(pairs), weighted_f1=weighted, per_class=per_class, confusion=tuple(tuple(c) for c in counts))


def _on(heads: dict[str, OutOfFold], basis: Basis) -> dict[str, Score]:
    both = {name: scores.given if basis == "given" else scores.true for name, scores in heads.items()}
    return {name: score for name, score in both.items() if score is not None}


def _ranked(scores: dict[str, Score]) -> dict[str, Score]:
    return dict(sorted(scores.items(), key=lambda item: (-item[1].weighted_f1, item[0])))
