"""`mer score`: a submission, or any predictions, against a truth CSV.

As the official scorer: names that have a truth count, and each of them must have a prediction.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.modalities import Matrix
from mer_pipeline.cli.answers import (
    Answers,
    classes_of,
    groups_of,
    indices,
    printable,
    read_answers,
    read_truth,
    some,
)
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.base import Figures
from mer_pipeline.metrics.scores import ClassScore, Counts
from mer_pipeline.scores.bootstrap import RESAMPLES, middle, resample, units_of
from mer_pipeline.scores.calibration import expected_calibration_error, log_loss
from mer_pipeline.scores.confusion import MEASURES, Confusion, class_f1
from mer_pipeline.scores.score import class_table, count_table


class Value(Figures):
    """A score and the middle 95 % of it over resamples, to 6 digits."""

    value: float
    low: float
    high: float


class Scored(Figures):
    """What `mer score --json` prints."""

    predictions: str
    truth: str
    n: int
    without_truth: int
    over: str
    units: int
    resamples: int
    caveat: str
    scores: dict[str, Value]
    classes: tuple[str, ...]
    per_class: dict[str, ClassScore]
    per_class_f1: dict[str, Value]
    confusion: Counts
    ece: float | None
    log_loss: float | None


def score_files(truth: Path, predictions: str | None, head: str | None, project: Project) -> Scored:
    """Score predictions; `answers.py` says what they may be. Default: this project's submission.

    Raises:
        UsageError: a file is missing or wrong, a label unknown, or a clip with a truth has no prediction.
        StageError: a table is torn or of another kind.
    """
    true_of = read_truth(truth)
    answers = read_answers(predictions or str(project.submission), head, project)
    classes = answers.classes or classes_of(true_of, project)
    names = sorted(true_of)
    missing = [name for name in names if name not in answers.labels]
    if len(missing) == len(names):
        raise UsageError(f"{answers.title} has none of the {len(names)} names of {truth}: are they of one dataset?")
    if missing:
        raise UsageError(
            f"{answers.title} lacks a prediction for {len(missing)} of the {len(names)} names of {truth}: "
            f"{some(missing)}"
        )
    true = np.array(indices(true_of, names, classes, str(truth)), dtype=np.int64)
    predicted = np.array(indices(answers.labels, names, classes, answers.title), dtype=np.int64)
    group_of = answers.groups or groups_of(project)
    units = units_of([group_of.get(name, name) for name in names])
    drawn, confusion = resample(true, [predicted], units, len(classes))[0], Confusion.of(true, predicted, len(classes))
    f1, f1_drawn = class_f1(confusion.counts), class_f1(drawn)
    said = _probabilities(answers, names, len(classes))
    return Scored(
        predictions=answers.title,
        truth=str(truth),
        n=len(names),
        without_truth=len(answers.labels) - len(names),
        over=units.over,
        units=units.count,
        resamples=RESAMPLES,
        caveat=units.caveat,
        scores={name: _value(float(measure(confusion.counts)), measure(drawn)) for name, measure in MEASURES.items()},
        classes=classes,
        per_class=class_table(confusion, classes),
        per_class_f1={name: _value(float(f1[c]), f1_drawn[:, c]) for c, name in enumerate(classes)},
        confusion=count_table(confusion),
        ece=None if said is None else round(expected_calibration_error(said, true), 6),
        log_loss=None if said is None else round(log_loss(said, true), 6),
    )


def score_text(found: Scored) -> str:
    """For people."""
    left = f" ({found.without_truth} more have no truth and do not count)" if found.without_truth else ""
    lines = [f"{found.predictions} against {found.truth}: {found.n} clips{left}", ""]
    for name, value in found.scores.items():
        lines.append(f"{measure_title(name):<12} {value.value:.3f}  [{value.low:.3f}, {value.high:.3f}]")
    lines += [*about_interval(found.resamples, found.units, found.over, found.caveat), ""]
    if found.ece is not None and found.log_loss is not None:
        lines += [f"calibration error {found.ece:.3f}, log loss {found.log_loss:.3f} nats", ""]
    wide = max(5, *(len(name) for name in found.classes))
    lines.append(f"{'class':<{wide}}  precision  recall     F1  95 %            clips")
    for name, row in found.per_class.items():
        at = found.per_class_f1[name]
        figures = f"{row.precision:>9.3f}  {row.recall:>6.3f}  {row.f1:>5.3f}"
        lines.append(f"{name:<{wide}}  {figures}  [{at.low:.3f}, {at.high:.3f}]  {row.support:>5}")
    columns = [max(len(name), 4) for name in found.classes]
    heads = "  ".join(f"{name:>{width}}" for name, width in zip(found.classes, columns, strict=True))
    lines += ["", f"{'true':<{wide}}  {heads}   (predicted)"]
    for name, counts in zip(found.classes, found.confusion, strict=True):
        lines.append(f"{name:<{wide}}  " + "  ".join(f"{n:>{width}}" for n, width in zip(counts, columns, strict=True)))
    return "\n".join(lines)


def measure_title(name: str) -> str:
    """weighted_f1: weighted F1."""
    return "UAR" if name == "uar" else name.replace("_f1", " F1")


def about_interval(resamples: int, units: int, over: str, caveat: str) -> list[str]:
    """What the intervals are, in words."""
    note = [f"note: {caveat}"] if caveat else []
    return [f"[ ]: the middle 95 % of {resamples} resamples of {units} {over}", *note]


def run_score(truth: Path, predictions: str | None, head: str | None, project: Project, *, json_wanted: bool) -> None:
    """Score and print."""
    found = score_files(truth, predictions, head, project)
    print(json.dumps(found.plain(), indent=1, ensure_ascii=False) if json_wanted else printable(score_text(found)))


def _value(value: float, resampled: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Value:
    low, high = middle(resampled)
    return Value(value=round(value, 6), low=low, high=high)


def _probabilities(answers: Answers, names: list[str], classes: int) -> Matrix | None:
    """Float32 (n, C), or None where the source has none of these classes."""
    rows = [answers.probabilities.get(name, []) for name in names]
    return np.array(rows, dtype=np.float32) if all(len(row) == classes for row in rows) else None
