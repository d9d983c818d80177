"""The stages on sets of classes and on numbers, from the tables of `ingest` to the page, the submission and `mer`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.kind import Kind
from mer_pipeline.cli.summary import summarise
from mer_pipeline.cli.target_scores import compare_target, compare_text, score_target, score_text
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import PredictParams, TrainParams
from mer_pipeline.labels.as_given import write_given_labels
from mer_pipeline.metrics.train import TrainMetrics
from mer_pipeline.report.build import build
from mer_pipeline.scores.sets import mean_average_precision
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.artifacts import load_config
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.predict import predict
from mer_pipeline.training.train import train
from tests.planted import CLASSES, heads_of, task_of
from tests.planted_targets import TARGETS, write_target

LINEAR = {"multilabel": "binary", "regression": "ridge"}
KINDS = list(LINEAR)


def params_of(kind: Kind) -> TrainParams:
    """A network, the linear head, and their mean."""
    params = TrainParams(
        d=16, epochs=8, patience=4, seeds=(0, 1), lr=5e-3, heads=("mertools", "mertools+late", LINEAR[kind])
    )
    return params.with_options("binary", c=[0.1]) if kind == "multilabel" else params


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Project]:
    """Each kind's project after `train` and `predict`."""
    done: dict[Kind, Project] = {}

    def of(kind: Kind) -> Project:
        if kind not in done:
            at = write_target(tmp_path_factory.mktemp(kind), kind)
            train(task_of(params_of(kind)), 5, at, HeadCache(str(at.root / "store")))
            predict(PredictParams(), at)
            done[kind] = at
        return done[kind]

    return of


def truth_csv(at: Project, kind: Kind) -> Path:
    """The true labels of the test's clips, in the form of the submission."""
    target, rows = TARGETS[kind], pq.read_table(at.truth).to_pylist()
    lines = [",".join((row["clip_id"], *target.cells(row["label"]))) for row in rows[-30:]]
    path = at.root / "truth.csv"
    path.write_text("\n".join([",".join(("name", *target.columns("discrete"))), *lines]) + "\n")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_stand_beside_a_constant(kind: Kind, trained: Callable[[Kind], Project]) -> None:
    """Heads, single modalities and test have their figures; the best head out of fold is selected, and a mean of two
    heads is one of them."""
    at = trained(kind)
    found = TrainMetrics.read(at.metrics("train"))
    assert (found.heads, found.single, found.classes) == ({}, {}, TARGETS[kind].names)
    scores = found.target
    assert scores is not None
    best = max(scores.heads, key=lambda name: scores.heads[name].given.figures[scores.main])
    assert found.selected == best
    constant = scores.constant.given.figures[scores.main]
    assert scores.heads[best].given.figures[scores.main] > constant + 0.3
    assert set(scores.single) == set(found.modalities)
    assert set(scores.heads) == {"mertools", "mertools+late", LINEAR[kind]}
    test = json.loads(at.metrics("predict").read_text())["target"]
    assert set(test["heads"]) == set(scores.heads)
    assert test["selected"]["figures"][scores.main] > test["constant"]["figures"][scores.main] + 0.3
    assert test["selected"]["n"] == 30


def test_the_constant_of_numbers_is_their_mean(trained: Callable[[Kind], Project]) -> None:
    """Its CCC is 0, and its RMSE is the standard deviation of the labels."""
    at = trained("regression")
    scores = TrainMetrics.read(at.metrics("train")).target
    assert scores is not None
    values = np.stack([TARGETS["regression"].vector(row["label"]) for row in pq.read_table(at.truth).to_pylist()[:60]])
    assert scores.constant.given.figures["ccc"] == 0
    assert scores.constant.given.figures["rmse"] == pytest.approx(values.std(axis=0).mean(), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_and_submission(kind: Kind, trained: Callable[[Kind], Project]) -> None:
    """Predictions are labels of the target with the numbers behind them; the submission can be read as truth is."""
    at, target = trained(kind), TARGETS[kind]
    rows = pq.read_table(at.predictions).to_pylist()
    column, other = ("values", "probabilities") if kind == "regression" else ("probabilities", "values")
    config = load_config(at.fusion)
    for row in rows:
        assert other not in row
        numbers = np.array(row[column], dtype=np.float32)
        assert row["label"] == target.label(numbers, config.thresholds)
        assert (target.bounded(numbers) == numbers).all()
        assert row["importance"] is None or all(value is None or value >= 0 for value in row["importance"])
    assert rows[-1]["flag"] == "no modality: training prior"
    assert rows[-1][column] == pytest.approx(config.constant, abs=1e-5)
    text = at.submission.read_text().splitlines()
    assert text[0].split(",") == ["name", *target.columns("discrete")]
    assert len(text) == 31


def test_out_of_fold_rows_are_what_was_scored(trained: Callable[[Kind], Project]) -> None:
    """The mAP in the metric file is that of the table, for the head that has no random choice."""
    at, target = trained("multilabel"), TARGETS["multilabel"]
    rows = [row for row in pq.read_table(at.out_of_fold).to_pylist() if row["head"] == "binary"]
    given = {row["clip_id"]: row["label"] for row in pq.read_table(at.manifest).to_pylist()}
    true = np.stack([target.vector(given[row["clip_id"]]) for row in rows])
    said = np.array([row["probabilities"] for row in rows], dtype=np.float32)
    scores = TrainMetrics.read(at.metrics("train")).target
    assert scores is not None
    figures = scores.heads["binary"].given.figures
    assert figures["map"] == pytest.approx(mean_average_precision(true, said), abs=1e-6)
    decided = np.stack([target.vector(row["label"]) for row in rows])
    assert figures["exact"] == pytest.approx((decided == true).all(axis=1).mean(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_same_bytes_and_from_the_store(
    kind: Kind, trained: Callable[[Kind], Project], tmp_path: Path
) -> None:
    """A second run takes every head from the store, and a run without it trains the same."""
    at = trained(kind)
    again = write_target(tmp_path, kind)
    for cache in (HeadCache(str(at.root / "store")), HeadCache(None)):
        train(task_of(params_of(kind)), 5, again, cache)
        predict(PredictParams(), again)
        for path in (project_path for project_path in at.fusion.rglob("*") if project_path.is_file()):
            assert (again.fusion / path.relative_to(at.fusion)).read_bytes() == path.read_bytes(), path
        assert again.predictions.read_bytes() == at.predictions.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_and_the_summary(kind: Kind, trained: Callable[[Kind], Project]) -> None:
    """They show the figures of the kind, the constant, and for numbers a scatter plot."""
    at = trained(kind)
    page = build(at, CLASSES).read_text(encoding="utf-8")
    assert ("CCC" in page, "mAP" in page) == (kind == "regression", kind == "multilabel")
    assert page.count("<circle") == (60 if kind == "regression" else 0)  # 30 clips, two dimensions
    assert '<section id="target">' in page
    assert "weighted F1" not in page.split('<section id="labels">')[0]
    assert "constant" in summarise(at)


@pytest.mark.parametrize("kind", KINDS)
def test_mer_score_and_compare(kind: Kind, trained: Callable[[Kind], Project]) -> None:
    """The submission is scored by the figures that a CSV allows; two heads of a run are compared on the same clips."""
    at, target = trained(kind), TARGETS[kind]
    truth = truth_csv(at, kind)
    found = score_target(target, truth, str(at.submission), None, at)
    assert found.scores.n == 30
    test = json.loads(at.metrics("predict").read_text())["target"]["selected"]["figures"]
    for name, value in found.scores.figures.items():
        assert value == pytest.approx(test[name], abs=1e-4), name
    assert ("map" in found.scores.figures) is False  # of a CSV with sets there are no probabilities
    table = score_target(target, truth, str(at.predictions), None, at)
    assert table.scores.figures.keys() == test.keys()
    assert "30 clips" in score_text(table)
    both = compare_target(target, (str(at.root), None), ("mertools", LINEAR[kind]), None, at, test=False)
    assert both.difference == pytest.approx(both.scores_b.figures[both.main] - both.scores_a.figures[both.main])
    assert both.low <= both.difference <= both.high
    assert "p = " in compare_text(both)
    (at.root / "short.csv").write_text("\n".join(at.submission.read_text().splitlines()[:5]) + "\n")
    with pytest.raises(UsageError, match="lacks a prediction for 26 of the 30 names"):
        score_target(target, truth, str(at.root / "short.csv"), None, at)


@pytest.mark.parametrize(("count", "why"), [(60, "all labelled clips are in one fold"), (0, "there are no labelled")])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_head_nothing_is_known(kind: Kind, count: int, why: str, tmp_path: Path) -> None:
    """The middle of each range, or equal probabilities, with a flag; no stage fails, and the page is made."""
    at, target = write_target(tmp_path, kind), TARGETS[kind]
    clips = pq.read_table(at.folds)["clip_id"][:count]
    folds = pa.table({"clip_id": clips, "fold": pa.array([0] * count, pa.int32())})
    write_table(at.folds, folds, {"note": "all labelled clips are in one fold", **target.footer()})
    write_given_labels(target, at)
    train(task_of(params_of(kind)), 5, at, HeadCache(None))
    predict(PredictParams(), at)
    assert load_config(at.fusion).selected is None
    rows = pq.read_table(at.predictions).to_pylist()
    assert all(row["flag"].startswith(f"no head: {why}") for row in rows)
    assert {row["label"] for row in rows} == {target.label(target.unknown())}
    assert "There is no head" in build(at, CLASSES).read_text(encoding="utf-8")


def test_every_kind_has_a_linear_head_and_networks() -> None:
    """The heads of a kind are those that say so."""
    assert {"ridge", "mertools", "concat", "gated", "mean-logits"} <= {*heads_of("regression")}
    assert {"binary", "mertools", "concat", "gated", "mean-logits"} <= {*heads_of("multilabel")}
    assert not {"logreg", "ensemble"} & {*heads_of("regression"), *heads_of("multilabel")}
