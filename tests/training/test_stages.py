"""The train and predict stages on disk: their files, their bytes, and the cases with nothing to learn from."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import recall_score

from mer_pipeline.base.errors import StageError, UsageError
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import PredictParams, TrainParams
from mer_pipeline.scores.calibration import fit_temperature, temper
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.artifacts import load_config
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.predict import predict
from mer_pipeline.training.scorer import NO_MODALITY
from mer_pipeline.training.train import train
from tests.planted import CLASSES, NAMES, Planted, task_of

SCORE = {"n", "weighted_f1", "macro_f1", "uar", "weighted_f1_sd", "log_loss", "ece", "brier"}
DETAIL = {"per_class", "confusion", "calibration"}


def both(project: Project, params: TrainParams) -> None:
    """Train, then predict."""
    train(task_of(params), 5, project, HeadCache(None))
    predict(PredictParams(), project)


def files(root: Path) -> dict[str, str]:
    """Digest of every file under a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def read_csv(path: Path) -> list[list[str]]:
    """All rows, the header first."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def quick(params: TrainParams) -> TrainParams:
    """One seed and a few epochs: enough for facts that are not about skill."""
    return params.model_copy(update={"epochs": 2, "seeds": (0,), "single_modality": False})


def test_files_are_those_of_the_contract(planted: Planted, project: Callable[..., Project], quick: TrainParams) -> None:
    """Heads, out-of-fold rows, both metric files, the plots; progress counts every member once."""
    at, ticks = project(planted), list[tuple[int, int]]()
    quick = quick.model_copy(update={"seeds": (0, 1), "single_modality": True})
    train(task_of(quick), 7, at, HeadCache(None), lambda done, total: ticks.append((done, total)))
    members = len(list(at.fusion.rglob("*.safetensors")))
    assert members == (1 + 3) * 5 * (2 + 2 + 2 + 1)  # logreg has one seed
    trained = (1 + 3) * 5 * (2 + 2 + 1)  # nothing is trained for ecmf+late
    assert ticks == [(i + 1, trained) for i in range(trained)]
    kinds = {path.suffix for path in at.fusion.rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json", ".parquet"}  # no pickle

    found = json.loads(at.metrics("train").read_text())
    assert (found["folds"], found["folds_asked"], found["labelled"], found["seeds"]) == (5, 7, 60, [0, 1])
    assert found["classes"] == list(CLASSES)
    assert found["modalities"] == list(NAMES)
    assert found["empty"] is None
    assert set(found["single"]) == set(NAMES)
    for scores in (found["heads"], *found["single"].values()):
        assert set(scores) == {"ecmf", "ecmf+late", "mertools", "logreg"}
        for score in scores.values():
            extra = {"interval"} if scores is found["heads"] else set()
            assert set(score["given"]) == set(score["true"]) == SCORE | extra
    best = max(found["heads"].values(), key=lambda score: score["given"]["weighted_f1"])
    assert found["heads"][found["selected"]] == best
    right = {"given": round((planted.given == planted.true)[:60].mean(), 6)}
    agreement = found["labels"]["agreement_with_true"]
    recall = round(recall_score(planted.true[:60], planted.given[:60], average="macro"), 6)
    assert found["labels"]["changed"] == 0
    assert {name: agreement[name] for name in ("given", "refined", "given_uar", "refined_uar")} == {
        **right,
        "refined": right["given"],
        "given_uar": recall,
        "refined_uar": recall,
    }
    assert agreement["posterior"]["n"] == 60

    rows = pq.read_table(at.out_of_fold).to_pylist()
    assert [row["clip_id"] for row in rows if row["head"] == "ecmf"] == list(planted.clip_ids[:60])
    assert all(row["fold"] == int(row["clip_id"][1:]) % 5 for row in rows)
    assert all(row["label"] == CLASSES[int(np.argmax(row["probabilities"]))] for row in rows)
    assert read_csv(at.plots("heads"))[0] == ["head", "features", "weighted_f1"]
    assert {row[0] for row in read_csv(at.plots("history"))[1:]} == {"ecmf", "mertools"}

    ticks.clear()
    predict(PredictParams(), at, lambda done, total: ticks.append((done, total)))
    assert ticks[-1][0] == ticks[-1][1] == len(ticks)
    test = json.loads(at.metrics("predict").read_text())
    assert (test["candidates"], test["pool"], test["flagged"]) == (30, 10, 1)
    assert test["selected"] == found["selected"]
    assert set(test["test"]) == {"heads", "single", "selected", "baselines", "unshifted"}
    assert test["test"]["unshifted"] is None
    assert test["priors"] == {}
    assert set(test["test"]["selected"]) == SCORE | {"interval"} | DETAIL
    assert test["test"]["selected"]["n"] == 30
    confusion = read_csv(at.plots("confusion"))
    assert confusion[0] == ["actual", "predicted"]
    assert len(confusion) == 31
    assert [row[0] for row in read_csv(at.plots("per_class"))] == ["class", *CLASSES]


@pytest.mark.outcome("candidate without any modality", "predicted by the training prior, `flag` says so")
@pytest.mark.outcome("named in a CSV, no such file", "a candidate gets its row in the submission")
def test_the_submission_has_every_candidate_once(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """Sorted, with known labels only; the clip without any modality gets the training prior and a flag."""
    at = project(planted)
    both(at, quick)
    rows = read_csv(at.submission)
    assert rows[0] == ["name", "discrete"]
    candidates = [c for c, split in zip(planted.clip_ids, planted.split, strict=True) if split == "test"]
    assert [name for name, _ in rows[1:]] == candidates
    assert {label for _, label in rows[1:]} <= set(CLASSES)
    predicted = pq.read_table(at.predictions).to_pylist()
    assert [row["clip_id"] for row in predicted] == list(planted.clip_ids[60:])
    last = predicted[-1]
    assert last["flag"] == NO_MODALITY
    assert last["weights"] is last["importance"] is None
    assert last["probabilities"] == pytest.approx(np.bincount(planted.given[:60]) / 60, abs=0.1)
    assert all(row["flag"] is None and len(row["weights"]) == 3 for row in predicted[:-1])
    there = planted.features.mask[60:-1]
    assert [[value is not None for value in row["importance"]] for row in predicted[:-1]] == there.tolist()
    resting = np.array([[value or 0 for value in row["importance"]] for row in predicted[:-1]]).mean(axis=0)
    assert resting.argmax() == 0  # the scene tells most
    assert all(sum(row["probabilities"]) == pytest.approx(1, abs=1e-5) for row in predicted)


def test_the_bytes_are_a_function_of_the_inputs(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """Two runs in two places write equal files, everything included."""
    one, two = project(planted, name="one"), project(planted, name="elsewhere")
    both(one, quick)
    both(two, quick)
    assert files(one.root) == files(two.root)


def test_truth_is_for_looking_only(planted: Planted, project: Callable[..., Project], quick: TrainParams) -> None:
    """Another truth, or none, gives the same heads, selection and predictions; without one the scores are null."""
    one = project(planted, name="one")
    two = project(replace(planted, true=(planted.true + 1) % 3), name="two")
    three = project(planted, truth=False, name="three")
    for at in (one, two, three):
        both(at, quick)
    for at in (two, three):
        assert files(at.fusion) == files(one.fusion)
        assert at.predictions.read_bytes() == one.predictions.read_bytes()
    found = json.loads(three.metrics("train").read_text())
    assert found["heads"]["ecmf"]["true"] is None
    assert found["labels"]["agreement_with_true"] is None
    assert json.loads(three.metrics("predict").read_text())["test"] is None
    # Out-of-fold rows stand in for the test clips in the plot.
    assert len(read_csv(three.plots("confusion"))) == 61


def test_a_left_out_clip_changes_no_other_prediction(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """A clip's prediction is its own: with fewer candidates the others' rows are the same."""
    at = project(planted)
    both(at, quick)
    before = pq.read_table(at.predictions).to_pylist()
    manifest = pq.read_table(at.manifest)
    pq.write_table(manifest.take([*range(60), *range(63, 100, 3)]), at.manifest)
    predict(PredictParams(), at)
    after = {row["clip_id"]: row for row in pq.read_table(at.predictions).to_pylist()}
    assert 0 < len(after) < len(before)
    assert all(after[row["clip_id"]] == row for row in before if row["clip_id"] in after)


def test_scores_have_intervals_over_groups(
    planted: Planted, project: Callable[..., Project], params: TrainParams
) -> None:
    """Of every fused head out of fold, and on the test; the confusion beside them is that of the out-of-fold table."""
    at = project(planted)
    both(at, params.model_copy(update={"single_modality": False}))
    found, test = (json.loads(path.read_text()) for path in (at.metrics("train"), at.metrics("predict")))
    rows = pq.read_table(at.out_of_fold).to_pylist()
    for name, scores in found["heads"].items():
        for basis in ("given", "true"):
            interval = scores[basis]["interval"]
            assert (interval["over"], interval["n"]) == ("groups", 10)
            assert interval["low"] < scores[basis]["weighted_f1"] < interval["high"]
        said = [CLASSES.index(row["label"]) for row in rows if row["head"] == name]
        assert scores["out_of_fold"]["confusion"] == Confusion.of(planted.given[:60], np.array(said), 3).counts.tolist()
        assert set(scores["out_of_fold"]) == DETAIL | {"temperature"}
    for score in (*test["test"]["heads"].values(), test["test"]["selected"]):
        assert score["interval"]["low"] <= score["weighted_f1"] <= score["interval"]["high"]
        assert score["interval"]["n"] == 10


def test_predictions_are_tempered_and_keep_their_labels(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """The temperature is the selected head's own, out of fold; without it the labels are the same, the priors too."""
    at = project(planted)
    both(at, quick.model_copy(update={"epochs": 12}))
    config, found = load_config(at.fusion), json.loads(at.metrics("train").read_text())
    assert config.temperature == found["heads"][config.selected]["out_of_fold"]["temperature"] != 1
    rows = [row for row in pq.read_table(at.out_of_fold).to_pylist()
            if row["head"] == config.selected]  # fmt: skip
    told = [i for i, row in enumerate(rows) if row["weights"] is not None]
    said = np.array([row["probabilities"] for row in rows], dtype=np.float32)
    assert config.temperature == fit_temperature(said[told], planted.given[:60][told])
    tempered, submitted = pq.read_table(at.predictions).to_pylist(), at.submission.read_bytes()
    place = at.fusion / "config.json"
    place.write_text(config.model_copy(update={"temperature": 1.0}).model_dump_json())
    predict(PredictParams(), at)
    plain = pq.read_table(at.predictions).to_pylist()
    assert at.submission.read_bytes() == submitted
    assert [row["label"] for row in plain] == [row["label"] for row in tempered]
    assert plain[-1] == tempered[-1]  # the prior
    before, after = (np.array([row["probabilities"] for row in of], np.float32)[:-1] for of in (plain, tempered))
    assert after.tobytes() == temper(before, config.temperature).tobytes()
    assert (before != after).any()


@pytest.mark.outcome("fewer than two clips of any class, or no labels", "the head is empty, with the reason")
@pytest.mark.parametrize("case", ["no labels", "one class", "one fold", "no modality"])
def test_nothing_to_learn_is_an_empty_head(
    case: str, planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """No error: the reason is told, every candidate is predicted uniformly and flagged, the submission is whole."""
    if case == "one class":
        planted = replace(planted, given=np.zeros_like(planted.given))
    if case == "one fold":
        planted = replace(planted, fold=np.minimum(planted.fold, 0))
    if case == "no modality":
        planted = replace(planted, features=replace(planted.features, mask=np.zeros_like(planted.features.mask)))
    at = project(planted, labelled=case != "no labels")
    both(at, quick)
    found = json.loads(at.metrics("train").read_text())
    assert isinstance(found["empty"], str)
    assert (found["selected"], found["heads"], found["single"]) == (None, {}, {})
    assert load_config(at.fusion).empty == found["empty"]
    assert load_config(at.fusion).temperature == 1
    rows = pq.read_table(at.predictions).to_pylist()
    assert {row["label"] for row in rows} == {CLASSES[0]}
    assert {row["flag"] for row in rows} == {f"no head: {found['empty']}"}
    assert rows[0]["probabilities"] == pytest.approx([1 / 3] * 3)
    assert len(read_csv(at.submission)) == 31
    test = json.loads(at.metrics("predict").read_text())
    assert (test["selected"], test["test"], test["flagged"]) == (None, None, len(rows))


def test_ties_are_won_by_the_earlier_head(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """Where nothing separates them, the order of the table of heads decides, and not that of params.yaml's keys."""
    first = (np.arange(100) == 0)[:, None]
    same = replace(planted, features=replace(planted.features, mask=planted.features.mask & first))
    for heads in (("mertools", "ecmf"), ("ecmf", "mertools")):
        at = project(same, name=heads[0])
        both(at, TrainParams.model_validate({**quick.model_dump(), "heads": heads}))
        assert load_config(at.fusion).selected == "ecmf"


def test_labels_of_other_folds_are_an_error(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """Stale labels are never trained on."""
    at = project(planted)
    folds = pq.read_table(at.folds)
    pq.write_table(folds.slice(1), at.folds)
    train(task_of(quick.with_heads("logreg")), 5, at, HeadCache(None))
    pq.write_table(folds.set_column(1, "fold", folds["fold"].take([*range(1, 60), 0])), at.folds)
    with pytest.raises(StageError, match="dvc repro labels"):
        train(task_of(quick), 5, at, HeadCache(None))


def test_a_prior_shift_corrects_candidates_and_pool_each_by_its_own_shares(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """Written probabilities have the shares that EM has found; the clip without a modality keeps the training prior,
    and the score without the shift is the one that stands there otherwise."""
    at = project(planted)
    both(at, quick.with_heads("logreg"))
    plain, before = json.loads(at.metrics("predict").read_text()), pq.read_table(at.predictions).to_pylist()
    predict(PredictParams(prior="em"), at)
    found, rows = json.loads(at.metrics("predict").read_text()), pq.read_table(at.predictions).to_pylist()
    assert set(found["priors"]) == {"test", "pool"}
    for split, shares in found["priors"].items():
        own = [row["probabilities"] for row in rows if row["split"] == split and row["flag"] is None]
        assert [shares[name] for name in CLASSES] == pytest.approx(np.mean(own, axis=0), abs=2e-3)
    assert rows[-1]["probabilities"] == before[-1]["probabilities"]
    assert [row["probabilities"] for row in rows[:-1]] != [row["probabilities"] for row in before[:-1]]
    assert found["test"]["unshifted"]["weighted_f1"] == plain["test"]["selected"]["weighted_f1"]
    assert found["test"]["heads"] == plain["test"]["heads"]


def test_features_of_another_length_are_an_error(
    planted: Planted, project: Callable[..., Project], quick: TrainParams
) -> None:
    """An encoder that was changed and heads that were not: one sentence, exit code 2, no prediction written."""
    at = project(planted)
    train(task_of(quick), 5, at, HeadCache(None))
    shorter = replace(planted.features, x=(planted.features.x[0][:, :-1], *planted.features.x[1:]))
    other = project(replace(planted, features=shorter), name="shorter")
    shutil.copytree(at.fusion, other.fusion)
    with pytest.raises(UsageError, match="the heads were trained on") as caught:
        predict(PredictParams(), other)
    assert caught.value.exit_code == 2
    assert not other.predictions.exists()
