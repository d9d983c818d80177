"""Write the result of the ablation: metrics/ablation.json and plots/ablation.csv.

Scores are out-of-fold weighted F1, as mean and standard deviation over the seeds. A difference is the variant's mean
minus the reference's.
"""

from __future__ import annotations

from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.ablation import AblationMetrics

FIGURES = ("weighted_f1", "weighted_f1_sd", "difference", "low", "high", "p_holm")  # columns of the plot


def write_ablation(project: Project, metrics: AblationMetrics) -> None:
    """Write metrics/ablation.json and plots/ablation.csv; the latter has the scores on the given labels."""
    metrics.write(project.metrics("ablation"))
    table = [
        (name, row.kind, *(_blank(getattr(row.given, figure)) for figure in FIGURES))
        for name, row in metrics.variants.items()
    ]
    write_csv(project.plots("ablation"), ("variant", "kind", *FIGURES), table)


def nothing_measured(empty: str | None) -> AblationMetrics:
    """Return metrics without variants.

    Args:
        empty: the reason that nothing was measured although the stage is on; None if the stage is off.
    """
    return AblationMetrics(enabled=empty is not None, empty=empty, variants={})


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
