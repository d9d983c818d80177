"""The command `mer summary`: show the main scores of the last run in a few lines, from the metric files."""

from __future__ import annotations

from mer_pipeline.base.errors import StageError
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.predict import PredictMetrics
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
    lines = ["Weighted F1 (mean over seeds)   cross-validation, given labels   test, true labels"]
    for name, scores in train.heads.items():
        tested = f"{predict.test.heads[name].weighted_f1:.3f}" if predict.test else "-"
        mark = "*" if name == train.selected else " "
        lines.append(f"  {mark} {name:<12} {scores.given.weighted_f1:>28.3f} {tested:>26}")
    lines.append("  * selected by cross-validation against the given labels, which are noisy themselves")
    return [*lines, ""]
