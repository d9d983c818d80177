"""The command `mer summary`: show the main scores of the last run in a few lines, from the metric files."""

from __future__ import annotations

from mer_pipeline.base.errors import StageError
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.target import TargetScores
from mer_pipeline.metrics.train import TrainMetrics


def summarise(project: Project) -> str:
    """Return the text to print after `dvc repro`.

    Raises:
        StageError: nothing has been run yet, or another version of this package wrote the metric files.
    """
    if not project.report.exists():
        raise StageError("there is no report here; run `dvc repro` first, in the project's root")
    train, predict = TrainMetrics.read(project.metrics("train")), PredictMetrics.read(project.metrics("predict"))
    lines = [""]
    if train.empty:
        lines.append(f"No head was trained: {train.empty}")
    else:
        lines += _figures(train, predict)
    lines += [
        f"Report:      {project.report}",
        f"Predictions: {project.predictions}, {project.submission}",
        'Your clips:  mer init --data DIR && dvc repro   (README.md, "Your own clips")',
    ]
    return "\n".join(lines)


def _figures(train: TrainMetrics, predict: PredictMetrics) -> list[str]:
    if train.target is not None:
        return _target_figures(train, train.target, predict)
    lines = ["Weighted F1 (mean over seeds)   cross-validation, given labels   test, true labels"]
    for name, scores in train.heads.items():
        tested = f"{predict.test.heads[name].weighted_f1:.3f}" if predict.test else "-"
        mark = "*" if name == train.selected else " "
        lines.append(f"  {mark} {name:<12} {scores.given.weighted_f1:>28.3f} {tested:>26}")
    lines.append("  * selected by cross-validation against the given labels, which are noisy themselves")
    return [*lines, ""]


def _target_figures(train: TrainMetrics, found: TargetScores, predict: PredictMetrics) -> list[str]:
    test, title = predict.target, "CCC" if found.main == "ccc" else "mAP"
    lines = [f"{title:<11} (mean over seeds)   cross-validation, given labels   test, true labels"]
    for name, scores in found.heads.items():
        mark = "*" if name == train.selected else " "
        lines.append(_line(mark, name, scores.given.figures, test.heads[name].figures if test else None, found.main))
    lines.append(
        _line(" ", "constant", found.constant.given.figures, test.constant.figures if test else None, found.main)
    )
    lines.append("  * selected by cross-validation; constant: the mean of the given labels for every clip")
    return [*lines, ""]


def _line(mark: str, name: str, given: dict[str, float], test: dict[str, float] | None, main: str) -> str:
    tested = f"{test[main]:.3f}" if test else "-"
    return f"  {mark} {name:<12} {given[main]:>28.3f} {tested:>26}"
