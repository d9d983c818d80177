"""The table and forest plot of the ablation: the difference of each variant from the whole system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mer_pipeline.metrics.ablation import AblationMetrics, Compared
from mer_pipeline.metrics.scores import Score
from mer_pipeline.report.bases import Basis

KINDS = {
    "part": "One part off",
    "without": "One modality less",
    "alone": "One modality alone",
    "head": "Another head on all modalities",
}


@dataclass(frozen=True)
class Line:
    """One row of the table and of the forest plot.

    Attributes:
        name: the name of the variant.
        score: its scores and their difference from the reference.
        at: the position of the difference on the axis of the plot, from 0 to 1.
        low: the position of the lower end of the interval; None without an interval.
        high: the position of the upper end of the interval; None without an interval.
    """

    name: str
    score: Compared
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Forest:
    """The variants on one basis.

    Attributes:
        basis: the basis of the scores.
        reference: the scores of the whole system.
        zero: the position of "no difference" on the axis of the plot, from 0 to 1.
        kinds: the heading of each kind of variant with its rows, the largest loss first.
    """

    basis: Basis
    reference: Score
    zero: float
    kinds: tuple[tuple[str, tuple[Line, ...]], ...]


def forests(metrics: AblationMetrics | None) -> tuple[Forest, ...]:
    """Return one forest plot per basis that was measured (given labels, true labels); none if the stage is off."""
    if metrics is None or metrics.reference is None:
        return ()
    given = {name: (row.kind, row.given) for name, row in metrics.variants.items()}
    true = {name: (row.kind, row.true) for name, row in metrics.variants.items() if row.true is not None}
    found = [_forest("given", metrics.reference.given, given)] if given else []
    if metrics.reference.true is not None and true:
        found.append(_forest("true", metrics.reference.true, true))
    return tuple(found)


def _forest(basis: Basis, reference: Score, rows: Mapping[str, tuple[str, Compared]]) -> Forest:
    ends = [0.0]
    for _, score in rows.values():
        ends += [value for value in (score.difference, score.low, score.high) if value is not None]
    least, span = min(ends), (max(ends) - min(ends)) or 1.0

    def place(value: float) -> float:
        return (value - least) / span

    ranked = sorted(rows.items(), key=lambda item: (item[1][1].difference, item[0]))
    lines: dict[str, list[Line]] = {kind: [] for kind in KINDS}
    for name, (kind, score) in ranked:
        low, high = (None if value is None else place(value) for value in (score.low, score.high))
        lines.setdefault(kind, []).append(Line(name, score, place(score.difference), low, high))
    kinds = tuple((KINDS.get(kind, kind), tuple(each)) for kind, each in lines.items() if each)
    return Forest(basis, reference, place(0.0), kinds)
