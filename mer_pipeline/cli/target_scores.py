"""`mer score` and `mer compare` where sets of classes or numbers are predicted (score.py and compare.py: classes).

A CSV has the columns of the submission: name and discrete, or name and one column per dimension. Intervals and p-values
are those of the main figure, mAP or CCC; of a CSV with sets, which has no probabilities, only F1 is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.modalities import Matrix
from mer_pipeline.base.target import Target
from mer_pipeline.cli.answers import Answers, groups_of, printable, read_answers, some
from mer_pipeline.cli.diff import WORKSPACE
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.base import Figures
from mer_pipeline.metrics.target import MAIN, TargetScore
from mer_pipeline.scores.bootstrap import Units, middle, two_sided, units_of
from mer_pipeline.scores.numbers import resampled_ccc
from mer_pipeline.scores.sets import resampled_map
from mer_pipeline.scores.target import judge


class TargetScored(Figures):
    """The result of `mer score`, as `--json` prints it; `without_truth` counts predictions without a true label."""

    predictions: str
    truth: str
    without_truth: int
    scores: TargetScore


class TargetCompared(Figures):
    """The result of `mer compare`, as `--json` prints it.

    Attributes:
        a, b: the titles of the two sides.
        against: the name of the labels that both are scored against.
        n: the number of clips of both sides with such a label.
        main: the figure that is compared.
        scores_a, scores_b: the scores of the two sides.
        difference: the main figure of B minus that of A.
        low, high: the middle 95 % of the difference over paired resamples.
        p: the two-sided p-value of "both have the same main figure".
        caveat: a warning about the interval, or "".
    """

    a: str
    b: str
    against: str
    n: int
    main: str
    scores_a: TargetScore
    scores_b: TargetScore
    difference: float
    low: float
    high: float
    p: float
    caveat: str


def target_here(project: Project) -> Target | None:
    """Return the target in the project's params.yaml; None for classes, or outside of a project."""
    if not project.params.is_file():
        return None
    target = load_params(project.params).dataset.predicts
    return None if target.kind == "class" else target


def score_target(
    target: Target, truth: Path, predictions: str | None, head: str | None, project: Project
) -> TargetScored:
    """Score predictions against true labels; the arguments are those of `score_files`.

    Raises:
        UsageError: a file is missing or wrong, or a clip with a true label has no prediction.
        StageError: a table is damaged or has no predictions.
    """
    true_of = _labels(target, truth)
    answers = _answers(target, predictions or str(project.submission), head, project)
    names = sorted(true_of)
    if missing := [name for name in names if name not in answers.labels]:
        raise UsageError(
            f"{answers.title} lacks a prediction for {len(missing)} of the {len(names)} names of {truth}: "
            f"{some(missing)}"
        )
    scores = _judged(target, true_of, answers, names, _units(answers.groups or groups_of(project), names))
    return TargetScored(
        predictions=answers.title,
        truth=str(truth),
        without_truth=len(answers.labels) - len(names),
        scores=scores,
    )


def compare_target(
    target: Target,
    sides: tuple[str | None, str | None],
    heads: tuple[str | None, str | None],
    truth: Path | None,
    project: Project,
    *,
    test: bool,
) -> TargetCompared:
    """Compare two sides; the arguments are those of `compare_runs`.

    Raises:
        UsageError: the sides are the same, cannot be read, have no clip with a label in common, or no probabilities.
        StageError: a table is damaged or has no predictions.
    """
    a = sides[0] or WORKSPACE
    b = sides[1] or (a if heads[1] else WORKSPACE)
    if a == b and (heads[1] or heads[0]) == heads[0]:
        raise UsageError("A and B are the same predictions; name two runs, or two heads with --head and --against")
    one = _answers(target, a, heads[0], project, test=test)
    other = _answers(target, b, heads[1] or heads[0], project, test=test)
    title = str(truth) if truth is not None else "the true labels" if test else "the given labels"
    true_of = _labels(target, truth) if truth is not None else {**one.given, **other.given}
    names = sorted(one.labels.keys() & other.labels.keys() & true_of.keys())
    if not names:
        raise UsageError(f"{one.title} and {other.title} have no clip in common that has a label in {title}")
    units = _units(other.groups or one.groups or groups_of(project), names)
    true = _vectors(target, true_of, names)
    resampled = resampled_ccc if target.kind == "regression" else resampled_map
    drawn = []
    for side in (one, other):
        outputs = _outputs(target, side, names)
        if outputs is None:
            raise UsageError(f"{side.title} has no probabilities, so it has no mAP; name a run or a Parquet file")
        drawn.append(resampled(true, outputs, units))
    low, high = middle(drawn[1] - drawn[0])
    both = [_judged(target, true_of, side, names, units) for side in (one, other)]
    main = MAIN[target.kind]
    return TargetCompared(
        a=one.title,
        b=other.title,
        against=title,
        n=len(names),
        main=main,
        scores_a=both[0],
        scores_b=both[1],
        difference=round(both[1].figures[main] - both[0].figures[main], 6),
        low=low,
        high=high,
        p=two_sided(drawn[1] - drawn[0]),
        caveat=units.caveat,
    )


def score_text(found: TargetScored) -> str:
    """Return the result of `mer score` as text."""
    scores = found.scores
    left = f" ({found.without_truth} more have no truth and do not count)" if found.without_truth else ""
    lines = [f"{found.predictions} against {found.truth}: {scores.n} clips{left}", ""]
    for name, value in scores.figures.items():
        lines.append(f"{name:<10} {value:.3f}")
    if scores.interval is not None:
        own = scores.interval
        main = next(name for name in MAIN.values() if name in scores.figures)
        lines.append(f"{main}: the middle 95 % of resamples of {own.n} {own.over} is [{own.low:.3f}, {own.high:.3f}]")
    wide = max(len(name) for name in scores.each)
    for name, each in scores.each.items():
        lines.append(f"{name:<{wide}}  " + "  ".join(f"{key} {value:.3f}" for key, value in each.items()))
    return "\n".join(lines)


def compare_text(found: TargetCompared) -> str:
    """Return the result of `mer compare` as text."""
    lines = [f"A: {found.a}", f"B: {found.b}", f"{found.n} clips against {found.against}", ""]
    for name, value in found.scores_a.figures.items():
        lines.append(f"{name:<10} {value:.3f}  {found.scores_b.figures[name]:.3f}")
    lines.append(
        f"{found.main}: B - A {found.difference:+.3f}  [{found.low:+.3f}, {found.high:+.3f}]; "
        f"p = {found.p:.3g}, two-sided"
    )
    return "\n".join([*lines, *([f"note: {found.caveat}"] if found.caveat else [])])


def show(found: TargetScored | TargetCompared, *, json_wanted: bool) -> None:
    """Print a result."""
    text = score_text(found) if isinstance(found, TargetScored) else compare_text(found)
    print(json.dumps(found.plain(), indent=1, ensure_ascii=False) if json_wanted else printable(text))


def _labels(target: Target, path: Path) -> dict[str, str]:
    """Read the labels in a CSV of the form of the submission; names without a label are left out."""
    rows = {
        row["name"]: target.read(row, "discrete", f"{path}, '{row['name']}'")
        for row in read_csv(path, ("name", *target.columns("discrete")))
    }
    known = {name: label for name, label in rows.items() if label is not None}
    if not known:
        raise UsageError(f"{path} has no labels, so nothing can be scored")
    return known


def _answers(target: Target, text: str, head: str | None, project: Project, *, test: bool = False) -> Answers:
    if Path(text).suffix == ".csv":
        return Answers(text, _labels(target, Path(text)))
    return read_answers(text, head, project, test=test)


def _judged(
    target: Target, true_of: Mapping[str, str], answers: Answers, names: Sequence[str], units: Units
) -> TargetScore:
    true, sets = _vectors(target, true_of, names), target.kind == "multilabel"
    outputs = _outputs(target, answers, names)
    decided = [_vectors(target, answers.labels, names) > 0] if sets else None
    if outputs is not None:
        return judge(target, true, [outputs], decided, units)
    assert decided is not None
    found = judge(target, true, [decided[0].astype(np.float32)], decided)  # without probabilities there is no mAP
    figures = {name: value for name, value in found.figures.items() if name != MAIN["multilabel"]}
    each = {name: {key: v for key, v in own.items() if key != "ap"} for name, own in found.each.items()}
    return found.model_copy(update={"figures": figures, "each": each})


def _outputs(target: Target, answers: Answers, names: Sequence[str]) -> Matrix | None:
    """Return probabilities or numbers, float32 (n, C); None for sets without probabilities."""
    rows = [answers.probabilities.get(name, []) for name in names]
    if all(len(row) == len(target.names) for row in rows):
        return np.array(rows, dtype=np.float32)
    return _vectors(target, answers.labels, names) if target.kind == "regression" else None


def _vectors(target: Target, labels: Mapping[str, str], names: Sequence[str]) -> Matrix:
    return np.stack([target.vector(labels[name]) for name in names])


def _units(group_of: Mapping[str, str], names: Sequence[str]) -> Units:
    return units_of([group_of.get(name, name) for name in names])
