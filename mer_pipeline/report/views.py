"""The tables and sentences of the page on scores: which scores are shown together, and in which words.

The scores come from the metric files, for one basis at a time (`bases.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from mer_pipeline.metrics.scores import Blind, Calibration, ClassScore, Counts, GroupedScore, Interval, Score
from mer_pipeline.metrics.train import SearchSummary
from mer_pipeline.report.bases import BASES, Basis
from mer_pipeline.report.collect import Facts, Refined
from mer_pipeline.scores.bootstrap import FEW
from mer_pipeline.scores.confusion import Confusion

COLUMN = {
    "test": "Test, true labels",
    "given": "Cross-validated, given labels",
    "true": "Cross-validated, true labels",
}
MEANING = {
    "test": "test candidates, compared with their true labels",
    "given": "labelled training clips out-of-fold, compared with the given labels",
    "true": "labelled training clips out-of-fold, compared with their true labels",
}


@dataclass(frozen=True)
class Headline:
    """The first score on the page, with its explanation.

    Attributes:
        score: the weighted F1.
        error: its standard error by the number of clips alone.
        interval: its interval.
        basis: the basis of the score.
        n: the number of clips.
        explanation: sentences that say what the score is and what it is not.
        comparison: a comparison with the best single modality.
    """

    score: float
    error: float
    interval: Interval | None
    basis: Basis
    n: int
    explanation: str
    comparison: str | None


@dataclass(frozen=True)
class HeadRow:
    """The scores of one head on all modalities, by basis."""

    name: str
    selected: bool
    scores: dict[Basis, GroupedScore]


@dataclass(frozen=True)
class SingleTable:
    """The scores of each modality alone on one basis; `fused` is the best head on all modalities."""

    basis: Basis
    heads: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, Score]], ...]  # each modality with the scores of the heads, best first
    fused: tuple[str, Score] | None


@dataclass(frozen=True)
class Detail:
    """The scores of the selected head's predictions on the basis of the headline.

    The predictions are means over seeds (and over folds on the basis "test"): one label per clip. `temperature` is the
    temperature of its probabilities.
    """

    basis: Basis
    n: int
    weighted_f1: float
    per_class: dict[str, ClassScore]
    confusion: Counts
    calibration: Calibration
    temperature: float


@dataclass(frozen=True)
class Labels:
    """The effect of refinement on the training labels.

    Attributes:
        trained: the number of training clips.
        changed: the labels that refinement changed.
        judged: how many of these have a known true label.
        mended: how many of those equal the true label after refinement.
        broken: how many of those equalled the true label before refinement.
    """

    trained: int
    changed: tuple[Refined, ...]
    judged: int
    mended: int
    broken: int


def headline(facts: Facts) -> Headline | None:
    """Return the headline, or None if no head was scored."""
    metrics, name = facts.metrics, facts.metrics.selected
    basis = metrics.basis
    scores = metrics.fused(basis)
    if name is None or name not in scores:
        return None
    test = metrics.predict.test if metrics.predict else None
    own, value, n, interval = scores[name], scores[name].weighted_f1, scores[name].n, scores[name].interval
    if basis == "test" and test:
        value, n, interval = test.selected.weighted_f1, test.selected.n, test.selected.interval
        explanation = (
            f"The {name} head's submitted predictions for the {n} test candidates whose true label is known, compared "
            "with those true labels. None of these clips was used to train a head or to choose one."
        )
        if round(1000 * abs(value - own.weighted_f1)) > 0 and metrics.train.seeds:
            explanation += (
                f" A submitted prediction combines all trained copies of the head; a single seed scores "
                f"{100 * own.weighted_f1:.1f} on average, and that is what comparisons below use."
            )
    else:
        explanation = (
            f"No test candidate with a known true label was scored, so this is cross-validated: each of the {n} "
            f"labelled training clips was predicted by a head ({name}) that had not seen its fold, and compared with "
            "the given label, which is noisy itself. The head was chosen by this figure, which flatters it a little."
        )
    error = sqrt(max(0.0, value * (1 - value)) / n) if n else 0.0
    return Headline(value, error, interval, basis, n, explanation, _against_single(facts, basis, own, error))


def _against_single(facts: Facts, basis: Basis, own: Score, error: float) -> str | None:
    alone = [(modality, *next(iter(heads.items()))) for modality, heads in facts.metrics.single(basis).items()]
    best = [item for item in alone if item[0] not in facts.metrics.train.mixed]
    if not best:
        return None
    modality, head, score = max(best, key=lambda item: item[2].weighted_f1)
    gap = own.weighted_f1 - score.weighted_f1
    side = "above" if gap >= 0 else "below"
    small = ", a gap smaller than the standard error of either figure" if abs(gap) < error else ""
    return (
        f"{100 * abs(gap):.1f} points {side} the best single modality on the same clips: {modality} alone with {head}, "
        f"{100 * score.weighted_f1:.1f}{small}."
        + "".join(
            f" {name}, which joins words with measured cues of voice and face, alone: {100 * mixed.weighted_f1:.1f}."
            for name, _, mixed in alone
            if name in facts.metrics.train.mixed
        )
    )


def bases(facts: Facts) -> tuple[Basis, ...]:
    """Return the bases that have scores, that of the headline first."""
    first = facts.metrics.basis
    return tuple(basis for basis in (first, *(b for b in BASES if b != first)) if facts.metrics.fused(basis))


def head_rows(facts: Facts) -> tuple[HeadRow, ...]:
    """Return the heads, sorted by score on the basis of the headline, the best first."""
    found: dict[str, dict[Basis, GroupedScore]] = {}
    for basis in bases(facts):
        for name, score in facts.metrics.fused(basis).items():
            found.setdefault(name, {})[basis] = score
    return tuple(HeadRow(name, name == facts.metrics.selected, scores) for name, scores in found.items())


def blind_rows(facts: Facts) -> tuple[tuple[str, dict[Basis, Blind]], ...]:
    """Return the baselines by basis, with a name that says how they guess."""
    found = {basis: blind for basis in bases(facts) if (blind := facts.metrics.blind(basis)) is not None}
    if not found:
        return ()
    label = next(iter(found.values())).label
    return (
        (f"always {label}", {basis: blind.majority for basis, blind in found.items()}),
        ("drawn by the classes' shares", {basis: blind.prior for basis, blind in found.items()}),
    )


def remarks(facts: Facts) -> tuple[str, ...]:
    """Return sentences about results in the table of heads that a reader may overlook."""
    said: list[str] = []
    beaten: list[str] = []
    for basis in bases(facts):
        scores = facts.metrics.fused(basis)
        linear, ours = scores.get("logreg"), scores.get("ecmf")
        if linear and ours and linear.weighted_f1 > ours.weighted_f1:
            beaten.append(f"{_pair(linear, ours)} on {MEANING[basis]}")
    if beaten:
        said.append(
            f"Logistic regression scores higher than the ECMF network: {'; '.join(beaten)}. "
            "There the plain linear model is the one to beat."
        )
    test, selected = facts.metrics.fused("test"), facts.metrics.selected
    best = next(iter(test), None)
    if best and selected in test and test[best].weighted_f1 > test[selected].weighted_f1:
        said.append(
            f"On the test {best} scores higher than the selected {selected} ({_pair(test[best], test[selected])}). "
            "The choice was made by cross-validation before the test was looked at, and stays."
        )
    for basis in bases(facts):
        said += _about_interval(next(iter(facts.metrics.fused(basis).values())).interval, basis)
    train = facts.metrics.train
    if train.folds_note:
        said.append(f"Of the folds: {train.folds_note}.")
    elif train.folds and train.folds < train.folds_asked:
        said.append(f"{train.folds_asked} folds were asked for; the groups of the data allow {train.folds}.")
    said += [_about_search(name, of.search) for name, of in train.heads.items() if of.search is not None]
    if train.search_note:
        said.append(f"No settings were searched for: {train.search_note}.")
    return tuple(said)


def _about_search(name: str, found: SearchSummary) -> str:
    surplus = f"which is {100 * found.optimism:.1f} points too good"
    return (
        f"Settings of {name} are the best of {found.trials} trials for each fold, chosen without that fold: "
        f"{100 * found.nested:.1f} out of fold. A search without that care, the best of {found.trials} on all folds, "
        f"shows {100 * found.unnested:.1f}, {surplus if found.optimism > 0 else 'no more than the nested one'}; "
        f"params as they stand show {100 * found.as_they_stand:.1f}."
    )


def single_tables(facts: Facts) -> tuple[SingleTable, ...]:
    """Return one table per basis, that of the headline first."""
    tables: list[SingleTable] = []
    for basis in bases(facts):
        single = facts.metrics.single(basis)
        heads = tuple(dict.fromkeys(name for row in head_rows(facts) for name in [row.name] if _any(single, name)))
        fused = next(iter(facts.metrics.fused(basis).items()), None)
        if single:
            tables.append(SingleTable(basis, heads, tuple(single.items()), fused))
    return tuple(tables)


def detail(facts: Facts) -> Detail | None:
    """Return scores per class, confusion matrix and calibration of the selected head; None if no head was scored."""
    head = facts.metrics.train.heads.get(facts.metrics.selected or "")
    if head is None:
        return None
    test, own = facts.metrics.predict.test if facts.metrics.predict else None, head.out_of_fold
    if facts.metrics.basis == "test" and test:
        of = test.selected
        return Detail("test", of.n, of.weighted_f1, of.per_class, of.confusion, of.calibration, own.temperature)
    f1 = Confusion(np.array(own.confusion)).weighted_f1
    return Detail("given", head.given.n, f1, own.per_class, own.confusion, own.calibration, own.temperature)


def labels(facts: Facts) -> Labels | None:
    """Return the effect of refinement, or None if there are no refined labels."""
    if not facts.labels:
        return None
    changed = tuple(row for row in facts.labels.values() if row.changed)
    known = [(row, facts.truth[row.clip_id]) for row in changed if row.clip_id in facts.truth]
    mended = sum(row.label == true for row, true in known)
    return Labels(len(facts.labels), changed, len(known), mended, sum(row.given == true for row, true in known))


def _any(single: dict[str, dict[str, Score]], head: str) -> bool:
    return any(head in heads for heads in single.values())


def _about_interval(interval: Interval, basis: Basis) -> list[str]:
    """Return sentences that warn about an interval, if there is a reason."""
    if interval.over == "clips":
        return [
            f"{COLUMN[basis]}: no groups were drawn for the intervals, but clips, so they are too narrow where several "
            "clips are of one speaker."
        ]
    if interval.n < FEW:
        return [
            f"{COLUMN[basis]}: the intervals are over {interval.n} groups, too few for their differences to be known. "
            "They are not worth much."
        ]
    return []


def _pair(first: Score, second: Score) -> str:
    return f"{100 * first.weighted_f1:.1f} against {100 * second.weighted_f1:.1f}"
