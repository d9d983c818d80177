"""The command `mer summary`: show the main scores of the last run in a few lines, from the metric files."""

from __future__ import annotations

from mer_pipeline.base.errors import StageError
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.scores import Blind, Score
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
    """Return the table of the heads and baselines, and the warnings."""
    if train.target is not None:
        return _target_figures(train, train.target, predict)
    test, blind = predict.test, train.baselines
    cells = {
        f"{'*' if name == train.selected else ' '} {name}": [
            _scores(of.given),
            *([_scores(test.heads[name])] if test else []),
        ]
        for name, of in train.heads.items()
    }
    if blind is not None:
        both = [blind.given, *([test.baselines] if test else [])]
        cells[f"  always {blind.given.label}"] = [_blind(of.majority) for of in both]
        cells["  drawn by the shares"] = [_blind(of.prior) for of in both]
    wide, titles = max(map(len, cells)), f"{'F1':>6}{'log loss':>10}{'ECE':>7}{'Brier':>7}"
    columns = ["cross-validation, given labels", *(["test, true labels"] if test else [])]
    lines = [
        f"  {'':<{wide}}{''.join(f'   {column:<{len(titles)}}' for column in columns)}".rstrip(),
        f"  {'':<{wide}}{f'   {titles}' * len(columns)}",
        *(f"  {name:<{wide}}{''.join(f'   {cell}' for cell in row)}" for name, row in cells.items()),
        "  * selected by its F1 in cross-validation; the given labels are noisy themselves",
        "  F1: weighted, mean over seeds. The last two rows look at no clip. ECE: expected calibration error",
    ]
    warnings = [f"Warning: {one}." for one in (*train.warnings, *predict.warnings)]
    return [*lines, "", *([*warnings, ""] if warnings else [])]


def _scores(of: Score) -> str:
    return f"{of.weighted_f1:>6.3f}{of.log_loss:>10.3f}{of.ece:>7.3f}{of.brier:>7.3f}"


def _blind(of: Blind) -> str:
    loss, brier = ("-" if value is None else f"{value:.3f}" for value in (of.log_loss, of.brier))
    return f"{of.weighted_f1:>6.3f}{loss:>10}{'-':>7}{brier:>7}"


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
    warnings = [f"Warning: {one}." for one in (*train.warnings, *predict.warnings)]
    return [*lines, "", *([*warnings, ""] if warnings else [])]


def _line(mark: str, name: str, given: dict[str, float], test: dict[str, float] | None, main: str) -> str:
    tested = f"{test[main]:.3f}" if test else "-"
    return f"  {mark} {name:<12} {given[main]:>28.3f} {tested:>26}"
