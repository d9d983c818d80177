"""The part of the page on sets of classes and on numbers: the scores of the heads beside a constant, and scatter plots.

For classes, views.py has the counterpart. The scores are from metrics/train.json and metrics/predict.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mer_pipeline.metrics.target import TargetScore
from mer_pipeline.report.bases import BASES, Basis
from mer_pipeline.report.collect import Facts

NAMES = {
    "map": "mAP",
    "ap": "Average precision",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "exact": "Whole set right",
    "f1": "F1",
    "support": "Clips",
    "ccc": "CCC",
    "pearson": "Pearson",
    "mae": "MAE",
    "rmse": "RMSE",
}
POINTS = 1500  # the most points of a scatter plot


@dataclass(frozen=True)
class Row:
    """One line of the table of heads: its scores by basis, and whether it is selected or the constant."""

    name: str
    selected: bool
    constant: bool
    scores: dict[Basis, TargetScore]


@dataclass(frozen=True)
class Scatter:
    """The predictions of one dimension against its labels.

    Attributes:
        name: the dimension.
        low: the lowest possible number.
        high: the highest possible number.
        points: (label, prediction) of each clip, as parts of the range from 0 to 1000.
        left_out: the number of clips that are not drawn.
    """

    name: str
    low: float
    high: float
    points: tuple[tuple[int, int], ...]
    left_out: int


@dataclass(frozen=True)
class TargetView:
    """What the page shows of sets of classes or of numbers.

    Attributes:
        numbers: whether numbers are predicted, and not sets.
        title: the name of the main figure.
        basis: the basis of the headline.
        score: the headline: the scores of the selected head's predictions.
        constant: the scores of the constant on that basis.
        bases: the bases that have scores, that of the headline first.
        heads: the heads, the best first, and then the constant.
        figures: the names of the figures over all classes or dimensions, by key.
        columns: the names of the figures of each class or dimension, by key.
        single: for each modality, the name of its best head and that head's scores on the basis of the headline.
        modalities: the mean weight and the mean importance of each modality; None where there are none.
        scatters: one plot per dimension.
        caveat: a warning about the intervals, or "".
    """

    numbers: bool
    title: str
    main: str
    basis: Basis
    score: TargetScore
    constant: TargetScore
    bases: tuple[Basis, ...]
    heads: tuple[Row, ...]
    figures: dict[str, str]
    columns: dict[str, str]
    single: tuple[tuple[str, str, TargetScore], ...]
    modalities: tuple[tuple[str, float | None, float | None], ...]
    scatters: tuple[Scatter, ...]
    caveat: str


def target_view(facts: Facts) -> TargetView | None:
    """Return what the page shows; None for classes, or without a head."""
    metrics, selected = facts.metrics, facts.metrics.selected
    found, test = metrics.train.target, metrics.predict.target if metrics.predict else None
    if found is None or selected is None:
        return None
    basis: Basis = "given" if test is None else "test"
    by_basis: dict[Basis, dict[str, TargetScore]] = {
        "test": {} if test is None else test.heads,
        "given": {name: one.given for name, one in found.heads.items()},
        "true": {name: one.true for name, one in found.heads.items() if one.true is not None},
    }
    constants: dict[Basis, TargetScore | None] = {
        "test": None if test is None else test.constant,
        "given": found.constant.given,
        "true": found.constant.true,
    }
    bases = tuple(one for one in (basis, *(b for b in BASES if b != basis)) if by_basis[one])
    score = by_basis[basis][selected] if test is None else test.selected
    constant = constants[basis]
    assert constant is not None
    ranked = sorted(by_basis[basis].items(), key=lambda item: (-item[1].figures[found.main], item[0]))
    rows = [
        Row(name, name == selected, False, {one: by_basis[one][name] for one in bases if name in by_basis[one]})
        for name, _ in ranked
    ]
    rows.append(Row("constant", False, True, {one: own for one in bases if (own := constants[one]) is not None}))
    single = test.single if test else {m: {h: s.given for h, s in each.items()} for m, each in found.single.items()}
    return TargetView(
        numbers=found.kind == "regression",
        title=NAMES[found.main],
        main=found.main,
        basis=basis,
        score=score,
        constant=constant,
        bases=bases,
        heads=tuple(rows),
        figures={key: NAMES[key] for key in NAMES if key in score.figures},
        columns={key: NAMES[key] for key in NAMES if any(key in own for own in score.each.values())},
        single=tuple((name, *_best(each, found.main)) for name, each in single.items() if each),
        modalities=_modalities(facts),
        scatters=_scatters(facts, found.ranges) if found.ranges else (),
        caveat=found.caveat,
    )


def _best(heads: Mapping[str, TargetScore], main: str) -> tuple[str, TargetScore]:
    return max(heads.items(), key=lambda item: item[1].figures[main])


def _modalities(facts: Facts) -> tuple[tuple[str, float | None, float | None], ...]:
    guesses = list(facts.predictions.values()) or list(facts.out_of_fold.get(facts.metrics.selected or "", {}).values())
    return tuple(
        (
            name,
            _mean(one.weights[m] for one in guesses if m < len(one.weights)),
            _mean(one.importance[m] for one in guesses if m < len(one.importance)),
        )
        for m, name in enumerate(facts.metrics.train.modalities)
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _scatters(facts: Facts, ranges: tuple[tuple[float, float], ...]) -> tuple[Scatter, ...]:
    """Return the plots of the selected head's predictions against the labels of the headline's basis."""
    tested = [clip_id for clip_id in sorted(facts.truth) if facts.clips[clip_id].split == "test"]
    answers = {clip_id: facts.truth[clip_id] for clip_id in tested if clip_id in facts.predictions}
    if not answers:
        own = facts.out_of_fold.get(facts.metrics.selected or "", {})
        answers = {clip_id: given for clip_id in sorted(own) if (given := facts.clips[clip_id].given) is not None}
    told = {clip_id: guess for clip_id in answers if (guess := facts.guess(clip_id)) is not None}
    shown = sorted(told)[:: -(-len(told) // POINTS) or 1]
    plots = []
    for d, (name, (low, high)) in enumerate(zip(facts.classes, ranges, strict=True)):
        pairs = [(float(answers[clip_id].split(";")[d]), told[clip_id].probabilities[d]) for clip_id in shown]
        points = tuple((_place(x, low, high), _place(y, low, high)) for x, y in pairs)
        plots.append(Scatter(name, low, high, points, len(told) - len(shown)))
    return tuple(plots)


def _place(value: float, low: float, high: float) -> int:
    return round(1000 * min(1.0, max(0.0, (value - low) / (high - low))))
