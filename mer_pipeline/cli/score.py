"""The command `mer score`: score a submission, or any other predictions, against a CSV file with true labels.

As in the official scorer, only names with a true label count, and each of them must have a prediction.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.modalities import Indices, Matrix
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
from mer_pipeline.cli.target_scores import score_target, show, target_here
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.base import Figures
from mer_pipeline.metrics.scores import Baselines, ClassScore, Counts
from mer_pipeline.scores.baselines import baselines, shares
from mer_pipeline.scores.bootstrap import RESAMPLES, middle, resample, units_of
from mer_pipeline.scores.calibration import brier, expected_calibration_error, log_loss
from mer_pipeline.scores.confusion import MEASURES, Confusion, class_f1
from mer_pipeline.scores.score import class_table, count_table


class Value(Figures):
    """A score (`value`) and the ends of its interval (`low`, `high`), rounded to 6 decimals."""

    value: float
    low: float
    high: float


class Scored(Figures):
    """The result of `mer score`, as `--json` prints it.

    Attributes:
        predictions, truth: the names of the predictions and of the file with true labels.
        n: the number of clips that count.
        without_truth: the number of clips that are predicted and have no true label.
        over, units: what is resampled, such as "speakers", and how many there are.
        resamples: the number of resamples.
        caveat: a warning about the intervals; "" if there is none.
        scores: the scores over all classes, by the name of the measure.
        classes: the classes, in order.
        per_class: precision, recall, F1 and support of each class.
        per_class_f1: the F1 of each class with its interval.
        confusion: the number of clips, by true class (rows) and predicted class (columns).
        ece: expected calibration error; None without probabilities.
        log_loss: log loss in nats; None without probabilities.
        brier: Brier score, from 0 to 2; None without probabilities.
        baselines: what is had without looking at a clip, by one who knows how frequent each class is in the truth.
    """

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
    brier: float | None
    baselines: Baselines


def score_files(truth: Path, predictions: str | None, head: str | None, project: Project) -> Scored:
    """Score predictions against true labels.

    Args:
        truth: a CSV file with the columns name and discrete.
        predictions: the predictions (`answers.py` lists what they may be); None: this project's submission.
        head: the head whose out-of-fold predictions are scored; None: the selected head.
        project: the project in which revisions are looked up.

    Raises:
        UsageError: a file is missing or wrong, a label is unknown, or a clip with a true label has no prediction.
        StageError: a table is damaged or has no predictions.
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
        brier=None if said is None else round(brier(said, true), 6),
        baselines=blind_to(true, classes),
    )


def score_text(found: Scored) -> str:
    """Return the result as text."""
    left = f" ({found.without_truth} more have no truth and do not count)" if found.without_truth else ""
    lines = [f"{found.predictions} against {found.truth}: {found.n} clips{left}", ""]
    for name, value in found.scores.items():
        lines.append(f"{measure_title(name):<12} {value.value:.3f}  [{value.low:.3f}, {value.high:.3f}]")
    lines += [*about_interval(found.resamples, found.units, found.over, found.caveat), ""]
    if found.ece is not None and found.log_loss is not None and found.brier is not None:
        loss = f"log loss {found.log_loss:.3f} nats, Brier score {found.brier:.3f}"
        lines += [f"calibration error {found.ece:.3f}, {loss}", ""]
    lines += [*about_blind(found.baselines), ""]
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
    """Return the title of a measure.

    Example:
        >>> measure_title("weighted_f1"), measure_title("uar")
        ('weighted F1', 'UAR')
    """
    return "UAR" if name == "uar" else name.replace("_f1", " F1")


def about_interval(resamples: int, units: int, over: str, caveat: str) -> list[str]:
    """Return lines that explain the intervals in brackets."""
    note = [f"note: {caveat}"] if caveat else []
    return [f"[ ]: the middle 95 % of {resamples} resamples of {units} {over}", *note]


def about_blind(blind: Baselines) -> list[str]:
    """Return lines about what is had without looking at a clip."""
    return [
        f"without looking at a clip: weighted F1 {blind.majority.weighted_f1:.3f} by naming '{blind.label}' always, "
        f"{blind.prior.weighted_f1:.3f} by drawing each as often as it is true (log loss {blind.prior.log_loss:.3f})"
    ]


def blind_to(true: Indices, classes: tuple[str, ...]) -> Baselines:
    """Return the baselines of one who knows how frequent each class is among the true labels, int64 (n,)."""
    return baselines(true, np.tile(shares(true, len(classes)), (len(true), 1)), classes)


def run_score(truth: Path, predictions: str | None, head: str | None, project: Project, *, json_wanted: bool) -> None:
    """Score predictions, and print the result. The arguments are those of `score_files`."""
    if (target := target_here(project)) is not None:
        show(score_target(target, truth, predictions, head, project), json_wanted=json_wanted)
        return
    found = score_files(truth, predictions, head, project)
    print(json.dumps(found.plain(), indent=1, ensure_ascii=False) if json_wanted else printable(score_text(found)))


def _value(value: float, resampled: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Value:
    low, high = middle(resampled)
    return Value(value=round(value, 6), low=low, high=high)


def _probabilities(answers: Answers, names: list[str], classes: int) -> Matrix | None:
    """Return the probabilities of some clips, float32 (n, C); None if a clip has none for all C classes."""
    rows = [answers.probabilities.get(name, []) for name in names]
    return np.array(rows, dtype=np.float32) if all(len(row) == classes for row in rows) else None
