"""The ablation's result as it is written: metrics/ablation.json and plots/ablation.csv. It needs no torch.

Scores are weighted F1 out of fold, mean ± sd over seeds; a difference is the variant's mean minus the reference's.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from mer_pipeline.project import Project
from mer_pipeline.scores.differences import Compared
from mer_pipeline.scores.metrics import Score
from mer_pipeline.scores.written import write_csv, write_json
from mer_pipeline.train_params import HeadName

Kind = Literal["part", "without", "alone", "head"]  # variants.py

HEADER = ("variant", "kind", "weighted_f1", "weighted_f1_sd", "difference", "low", "high", "p_holm")


class Reference(TypedDict):
    """The whole system; `true` is None where no truth is known."""

    given: Score
    true: Score | None


class Row(TypedDict):
    """One variant; `true` as above."""

    kind: Kind
    head: HeadName
    modalities: list[str]
    given: Compared
    true: Compared | None


class Measured(TypedDict):
    """What was measured, and over what."""

    head: HeadName  # the reference's
    modalities: list[str]
    seeds: list[int]
    folds: int
    over: Literal["groups", "clips"]  # what is resampled
    units: int  # how many of them there are
    caveat: str  # what a reader of an interval over them must know, or ""
    reference: Reference
    variants: dict[str, Row]


def write_ablation(project: Project, measured: Measured | None, empty: str | None = None) -> None:
    """Write both files; where nothing was measured, `empty` says why, and None that the stage is off."""
    rows = measured["variants"] if measured is not None else {}
    summary = {"enabled": measured is not None or empty is not None, "empty": empty, "variants": rows}
    write_json(project.metrics("ablation"), {**summary, **(measured or {})})
    table = [
        (name, row["kind"], *(_blank(value) for key, value in row["given"].items() if key in HEADER))
        for name, row in rows.items()
    ]
    write_csv(project.plots("ablation"), HEADER, table)


def _blank(value: object) -> object:
    return "" if value is None else value
