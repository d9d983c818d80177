"""The page's ablation: what its table says, where the forest's marks are, and nothing where nothing was measured."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from mer_pipeline.config.project import Project
from mer_pipeline.metrics.ablation import AblationMetrics, Compared, Kind, Reference, Variant
from mer_pipeline.report.ablation import forests
from mer_pipeline.report.build import build
from tests.report.conftest import score
from tests.report.test_build import page_of

Make = Callable[..., Project]


def row(kind: Kind, f1: float, half: float, p: float) -> Variant:
    """A variant of a system that scores .6, no truth known."""
    low, high = round(f1 - 0.6 - half, 6), round(f1 - 0.6 + half, 6)
    compared = Compared(
        **dict(score(f1, 36, 0.01)), difference=round(f1 - 0.6, 6), low=low, high=high, p=p / 2, p_holm=p
    )
    return Variant(kind=kind, head="ecmf", modalities=("scene",), given=compared, true=None)


def measured(name: str = "without face") -> AblationMetrics:
    """metrics/ablation.json."""
    rows = {
        "attention off": row("part", 0.62, 0.04, 1.0),
        "without scene": row("without", 0.58, 0.06, 0.9),
        name: row("without", 0.2, 0.1, 0.0004),
        "logreg": row("head", 0.7, 0.05, 0.03),
    }
    return AblationMetrics(
        enabled=True, empty=None, variants=rows, head="ecmf", modalities=("scene", "face"), seeds=(0, 1), folds=5,
        over="groups", units=5, caveat="five are few", reference=Reference(given=score(0.6, 36, 0.01), true=None),
    )  # fmt: skip


def with_ablation(paths: Project, metrics: AblationMetrics) -> Project:
    """Put the file there."""
    metrics.write(paths.metrics("ablation"))
    return paths


def test_the_table_says_what_was_measured(project: Make) -> None:
    """Scores, differences in points with intervals, corrected p, marks; the yardstick; what to mind."""
    words = page_of(with_ablation(project(), measured())).words
    assert "The whole system is the ecmf head on all modalities" in words
    assert "the same 2 seeds" in words
    assert "over 5 groups" in words
    assert "Mind that five are few." in words
    assert "whole system 60.0 ± 1.0" in words
    assert "attention off 62.0 ± 1.0 +2.0 −2.0 to +6.0 1.000 " in words
    assert "without face 20.0 ± 1.0 −40.0 −50.0 to −30.0 < .001 significant" in words
    assert "logreg 70.0 ± 1.0 +10.0 +5.0 to +15.0 0.030 significant" in words
    assert "labelled training clips out-of-fold, compared with the given labels, and its difference" in words
    assert words.count("significant") == 2


def test_marks_stand_where_the_numbers_are() -> None:
    """On one axis from the lowest to the highest end; within a kind the largest loss first."""
    (forest,) = forests(measured())
    assert forest.basis == "given"
    lines = {line.name: line for _, each in forest.kinds for line in each}
    assert [line.name for line in dict(forest.kinds)["One modality less"]] == ["without face", "without scene"]
    assert lines["without face"].low == 0
    assert lines["logreg"].high == 1
    assert forest.zero == pytest.approx(0.5 / 0.65)
    for line in lines.values():
        assert line.at - forest.zero == pytest.approx(line.score.difference / 0.65)


def test_names_are_text(project: Make) -> None:
    """A name with markup shows as it is."""
    html = build(with_ablation(project(), measured("<b>x</b>"))).read_text(encoding="utf-8")
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "<b>x</b>" not in html


@pytest.mark.parametrize("metrics", [None, AblationMetrics(enabled=False, empty=None, variants={})])
def test_nothing_measured_is_no_section(project: Make, metrics: AblationMetrics | None) -> None:
    """The stage is off, or has never run."""
    paths = project() if metrics is None else with_ablation(project(), metrics)
    html = build(paths).read_text(encoding="utf-8")
    assert not re.search("ablation", html.partition('id="making"')[0].partition("</style>")[2], re.I)
