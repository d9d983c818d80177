"""The ablation's result as it is written: metrics/ablation.json and plots/ablation.csv.

Scores are weighted F1 out of fold, mean ± sd over seeds; a difference is the variant's mean minus the reference's.
"""

from __future__ import annotations

from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.ablation import AblationMetrics

FIGURES = ("weighted_f1", "weighted_f1_sd", "difference", "low", "high", "p_holm")  # columns of the plot


def write_ablation(project: Project, metrics: AblationMetrics) -> None:
    """Write metrics/ablation.json and plots/ablation.csv; the plot is on the given labels."""
    metrics.write(project.metrics("ablation"))
    table = [
        (name, row.kind, *(_blank(getattr(row.given, figure)) for figure in FIGURES))
        for name, row in metrics.variants.items()
    ]
    write_csv(project.plots("ablation"), ("variant", "kind", *FIGURES), table)


def nothing_measured(empty: str | None) -> AblationMetrics:
    """Without variants: `empty` says why although the stage is on, None that it is off."""
    return AblationMetrics(enabled=empty is not None, empty=empty, variants={})


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
