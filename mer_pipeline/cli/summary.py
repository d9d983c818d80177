"""`mer summary`: the headline numbers of the last run in a few lines, from the metric files."""

from __future__ import annotations

import json

from mer_pipeline.errors import StageError
from mer_pipeline.project import Project


def summarise(project: Project) -> str:
    """What to print after `dvc repro`.

    Raises:
        StageError: nothing has been run yet.
    """
    if not project.report.exists():
        raise StageError("there is no report here; run `dvc repro` first, in the project's root")
    try:
        train = json.loads(project.metrics("train").read_text(encoding="utf-8"))
        predict = json.loads(project.metrics("predict").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StageError(f"{error.filename} is missing; run `dvc repro` first") from None
    lines = [""]
    if train["empty"]:
        lines.append(f"No head was trained: {train['empty']}")
    else:
        lines += _figures(train, predict)
    lines += [
        f"Report:      {project.report}",
        f"Predictions: {project.predictions}, {project.submission}",
        'Your clips:  mer init --profile demo --data DIR && dvc repro   (README.md, "Your own clips")',
    ]
    return "\n".join(lines)


def _figures(train: dict[str, object], predict: dict[str, object]) -> list[str]:
    heads, selected, test = train["heads"], train["selected"], predict["test"]
    assert isinstance(heads, dict)
    lines = ["Weighted F1 (mean over seeds)   cross-validation, given labels   test, true labels"]
    for name, scores in heads.items():
        tested = f"{test['heads'][name]['weighted_f1']:.3f}" if isinstance(test, dict) else "-"
        mark = "*" if name == selected else " "
        lines.append(f"  {mark} {name:<12} {scores['given']['weighted_f1']:>28.3f} {tested:>26}")
    lines.append("  * selected by cross-validation, whose yardstick is the given labels: as noisy as they are")
    return [*lines, ""]
