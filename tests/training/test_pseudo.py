"""The pseudo stage on planted data: what it may know, what it takes, and what training makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.errors import ParamsError, StageError
from mer_pipeline.base.modalities import Features
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import AblationParams, HeadName, PredictParams, TrainParams
from mer_pipeline.judges.judge import JudgeParams, vote_schema
from mer_pipeline.judges.outside import OutsideParams
from mer_pipeline.labels.pseudo import PseudoParams
from mer_pipeline.labels.pseudo_table import pseudo_schema, read_pseudo
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.tables.rows import complete_row, stage_schema
from mer_pipeline.tables.shards import write_shard, write_table
from mer_pipeline.training.ablation import ablate
from mer_pipeline.training.cross_validation import Labels, cross_validate, split
from mer_pipeline.training.head_cache import HeadCache, key_of
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.pseudo import Others, pseudo
from mer_pipeline.training.train import train
from tests.planted import CLASSES, Planted, heads_of, plant, task_of, write
from tests.training.test_cross_validation import bytes_of, features_of, labels_of

C = [1e-2, 1e-1]
SMALL = TrainParams(d=16, epochs=6, patience=3, seeds=(0, 1), lr=3e-3, heads={"ecmf": {}, "logreg": {"c": C}})
ON = PseudoParams(rounds=2, min_precision=0.4, min_support=4)
JUDGE = OutsideParams(kind="csv", input="judges/face.csv", family="face")


@dataclass(frozen=True)
class Made:
    """A planted dataset's pseudo stage on disk."""

    project: Project
    line: str

    @property
    def table(self) -> pa.Table:
        return pq.read_table(self.project.pseudo)

    @property
    def metrics(self) -> dict[str, object]:
        return json.loads(self.project.metrics("pseudo").read_text())

    def rows(self, held_out: int) -> list[Mapping[str, object]]:
        return self.table.filter(pc.equal(self.table["held_out_fold"], held_out)).to_pylist()


def large(seed: int = 0, labelled: int = 60, pool: int = 80, folds: int = 4) -> Planted:
    """Most of the others are pool."""
    planted = plant(seed, labelled=labelled, others=pool + 10, folds=folds)
    where = tuple(
        "train" if i < labelled else "pool" if i < labelled + pool else "test" for i in range(len(planted.split))
    )
    return replace(planted, split=where)


def judge_says(planted: Planted, right: float = 0.8, seed: int = 9) -> np.ndarray:
    """A judge that is right so often; on every eighth clip it abstains."""
    rng = np.random.default_rng(seed)
    n = len(planted.true)
    said = np.where(rng.random(n) < right, planted.true, (planted.true + rng.integers(1, 3, size=n)) % 3)
    return np.where(np.arange(n) % 8 == 3, MISSING, said)


def write_judge(folder: Path, planted: Planted, said: np.ndarray) -> None:
    """Its folder of votes, as the vote stage would write it."""
    values = vote_schema(3)
    rows = [
        complete_row(
            clip_id, "", None if c == MISSING else {"scores": np.eye(3)[c], "label": CLASSES[c]},
            "abstains" if c == MISSING else None, values,
        )
        for clip_id, c in zip(planted.clip_ids, said.tolist(), strict=True)
    ]  # fmt: skip
    write_shard(folder, 0, rows, stage_schema(values), {"transform": "vote-face"})


def given_votes(planted: Planted) -> pa.Table:
    """The given labels as votes."""
    rows = [
        (c, "given", "human", CLASSES[g])
        for c, g, f in zip(planted.clip_ids, planted.given, planted.fold, strict=True)
        if f >= 0
    ]
    names = ("clip_id", "source", "family", "label")
    return pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], names=names)


def run(
    root: Path,
    planted: Planted,
    params: PseudoParams = ON,
    said: np.ndarray | None = None,
    store: Path | None = None,
    groups: Mapping[str, str] | None = None,
    judges: Mapping[str, JudgeParams] | None = None,
) -> Made:
    """The stage on a planted dataset with one judge."""
    project = write(root, planted, truth=False)
    if groups is not None:
        manifest = pq.read_table(project.manifest).to_pylist()
        said_so = [row | {"group": groups[row["clip_id"]]} for row in manifest]
        pq.write_table(pa.Table.from_pylist(said_so), project.manifest)
    write_table(project.given, given_votes(planted))
    write_judge(project.table("votes/face"), planted, judge_says(planted) if said is None else said)
    others = Others({"face": JUDGE} if judges is None else judges)
    cache = HeadCache(None if store is None else str(store))
    return Made(project, pseudo(params, task_of(SMALL), others, project, cache))


def taken(rows: list[Mapping[str, object]]) -> dict[str, object]:
    """Labels by clip."""
    return {str(row["clip_id"]): row["label"] for row in rows if row["label"] is not None}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, Made]:
    """One run with two rounds."""
    planted = large()
    return planted, run(tmp_path_factory.mktemp("made"), planted)


def test_an_audit_row_per_clip_and_held_out_fold(made: tuple[Planted, Made]) -> None:
    """Of the pool and nobody else; each says what was heard and why it was taken or not."""
    planted, at = made
    pool = [c for c, s in zip(planted.clip_ids, planted.split, strict=True) if s == "pool"]
    assert at.table.schema.remove_metadata() == pseudo_schema(3)
    found = at.metrics
    for f in (-1, 0, 1, 2, 3):
        rows = at.rows(f)
        assert [row["clip_id"] for row in rows] == pool
        assert 5 < len(taken(rows)) < 80
        assert dict(sorted(found["held_out"][str(f)]["taken"].items())) == {  # type: ignore[index]
            name: list(taken(rows).values()).count(name) for name in sorted(CLASSES)
        }
        for row in rows:
            best = CLASSES[int(np.argmax(row["scores"]))]  # type: ignore[call-overload]
            if row["label"] is None:
                assert row["round"] is None
                assert "taken as" not in str(row["reason"]) or "nothing is taken" in str(row["reason"])
            else:
                assert (row["label"], row["families"], row["reason"]) == (best, ["face"], f"taken as {best}")
                assert row["probability"] >= row["threshold"]  # type: ignore[operator]
                assert row["round"] in (1, 2)
    assert found["empty"] is None
    assert (found["pool"], found["labelled"]) == (80, 60)
    assert found["held_out"]["-1"]["families"] == ["face"]  # type: ignore[index]
    assert [one["round"] for one in found["rounds"]] == [1, 2]  # type: ignore[attr-defined]
    for one in found["rounds"]:  # type: ignore[attr-defined]
        for of in one["classes"].values():
            assert of["taken"] <= of["quota"]
            assert of["threshold"] is None or of["low"] >= ON.min_precision
    counts = [found["rounds"][r]["taken"] for r in (0, 1)]  # type: ignore[index]
    last = found["rounds"][1]  # type: ignore[index]
    assert counts[1] - counts[0] == last["added"] - last["withdrawn"]


@pytest.mark.parametrize("head", ["logreg", "ecmf"])
def test_a_held_out_fold_has_no_say(head: HeadName, tmp_path: Path) -> None:
    """Other labels on all clips of fold 2: no row of held-out fold 2 moves by a bit, over all rounds; others do."""
    one = large()
    two = replace(one, given=np.where(one.fold == 2, (one.given + 1) % 3, one.given))
    asked = PseudoParams(rounds=2, head=head, min_precision=0.2, min_support=2, max_drift=1.0)
    first, second = (run(tmp_path / str(i), planted, asked) for i, planted in enumerate((one, two)))
    assert taken(first.rows(2))
    assert first.rows(2) == second.rows(2)
    assert first.metrics["held_out"]["2"] == second.metrics["held_out"]["2"]  # type: ignore[index]
    assert first.metrics["held_out"]["2"]["rounds"] == 2  # type: ignore[index]
    for f in (-1, 0, 1, 3):
        assert first.rows(f) != second.rows(f)


def test_a_group_of_the_held_out_fold_is_not_taken(made: tuple[Planted, Made], tmp_path: Path) -> None:
    """Where the pool has clips of a labelled speaker; without any held-out fold they may be taken."""
    planted, _ = made
    groups = {c: f"speaker{i % 4}" for i, c in enumerate(planted.clip_ids)}  # as folds are dealt
    at = run(tmp_path, planted, groups=groups)
    for f in range(4):
        assert taken(at.rows(f))
        assert f"speaker{f}" not in {groups[clip_id] for clip_id in taken(at.rows(f))}
        assert any("its group is in the held-out fold" in str(row["reason"]) for row in at.rows(f))
    assert {groups[clip_id] for clip_id in taken(at.rows(-1))} == set(groups.values())


def test_candidates_only_if_asked(made: tuple[Planted, Made], tmp_path: Path) -> None:
    """The test's clips are in the table where `pseudo.candidates` says so."""
    planted, at = made
    test = {c for c, s in zip(planted.clip_ids, planted.split, strict=True) if s == "test"}
    assert not test & set(at.table["clip_id"].to_pylist())
    once = ON.model_copy(update={"candidates": True, "rounds": 1})
    assert test <= set(run(tmp_path, planted, once).table["clip_id"].to_pylist())


def test_rounds_end_where_nothing_is_taken(tmp_path: Path) -> None:
    """A judge that contradicts the head everywhere: nothing passes, the second round would be the first again."""
    planted = large()
    at = run(tmp_path, planted, ON.model_copy(update={"rounds": 4}), (planted.true + 1) % 3)
    assert not taken(at.rows(-1))
    assert len(at.metrics["rounds"]) == 1  # type: ignore[arg-type]
    assert {of["why"] is None for of in at.metrics["rounds"][0]["classes"].values()} == {False}  # type: ignore[index]


def test_nobody_to_agree_is_a_mistake(made: tuple[Planted, Made], tmp_path: Path) -> None:
    """Own heads are no company, nor is a judge that says nothing of the pool, nor one where two are needed."""
    planted, _ = made
    for judges, asked, said in (
        ({}, ON, None),
        ({"face": JUDGE.model_copy(update={"family": "own"})}, ON, None),
        ({"face": JUDGE}, ON, np.where(planted.fold >= 0, planted.true, MISSING)),
        ({"face": JUDGE}, ON.model_copy(update={"min_families": 3}), None),
    ):
        with pytest.raises(ParamsError, match="must agree with the head; add a judge of another family"):
            run(tmp_path, planted, asked, said, judges=judges)


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    """Two folds, or no pool: an empty table and the reason."""
    for planted, why in ((large(folds=2), "fewer than 3 folds"), (plant(labelled=30, others=0), "no clips without")):
        at = run(tmp_path, planted)
        assert at.table.num_rows == 0
        assert why in at.line
        assert why in str(at.metrics["empty"])


def test_twice_the_same_bytes(made: tuple[Planted, Made], tmp_path: Path) -> None:
    """Without a store, with an empty one, and from what that one remembers."""
    planted, at = made
    for name in ("cold", "warm"):
        again = run(tmp_path / name, planted, store=tmp_path / "store")
        assert again.project.pseudo.read_bytes() == at.project.pseudo.read_bytes()
        assert again.metrics == at.metrics


@pytest.mark.parametrize("name", heads_of())
def test_pseudo_rows_are_trained_on_and_nothing_else(name: HeadName, planted: Planted, params: TrainParams) -> None:
    """Never validation, scored or counted in a prior; each fold's head sees its own, and the key covers them."""
    whole, labels = planted.features.take(np.arange(70)), with_pseudo(planted)
    plain = labels_of(planted)
    for f in range(5):
        for uses_validation in (True, False):
            rows, validation = split(labels, f, uses_validation, 3)
            before, watched_before = split(plain, f, uses_validation, 3)
            added = np.flatnonzero(labels.pseudo[f] != MISSING)
            assert rows.rows.tolist() == [*before.rows, *(60 + added)]
            assert rows.label.tolist() == [*before.label, *labels.pseudo[f][added]]
            assert set(rows.fold[len(before.rows) :]) == {-1}
            if validation is not None and watched_before is not None:
                assert validation.rows.tolist() == watched_before.rows.tolist()
    params = params.model_copy(update={"seeds": (0,)})
    with fixed_threads():
        one = cross_validate(name, features_of(planted), plain, 3, params)
        two = cross_validate(name, whole, labels, 3, params)
        other = replace(labels, pseudo=np.where(np.arange(5)[:, None] == 2, MISSING, labels.pseudo))
        three = cross_validate(name, whole, other, 3, params)
    assert two.probabilities.shape == one.probabilities.shape
    assert two.weights.shape == one.weights.shape
    for a, b, c in zip(one.members, two.members, three.members, strict=True):
        assert (a.member.prior == b.member.prior).all()
        assert bytes_of(a.member) != bytes_of(b.member)
        assert (bytes_of(b.member) == bytes_of(c.member)) == (b.fold != 2)
        assert (bytes_of(a.member) == bytes_of(c.member)) == (b.fold == 2)
    assert key_of(name, whole, labels, 3, params) != key_of(name, whole, other, 3, params)


def test_the_ablation_takes_them_away(made: tuple[Planted, Made], tmp_path: Path, params: TrainParams) -> None:
    """Its reference learns from them as the train stage does; a row is that stage's score without them."""
    planted, at = made
    quick = params.with_heads("mertools").model_copy(update={"seeds": (0,), "single_modality": False})
    scores = []
    for name in ("without", "with"):
        project = write(tmp_path / name, planted)
        if name == "with":
            shutil.copy(at.project.pseudo, project.pseudo)
        train(task_of(quick), 4, project, HeadCache(None))
        scores.append(json.loads(project.metrics("train").read_text())["heads"]["mertools"]["given"]["weighted_f1"])
    ablate(AblationParams(enabled=True, head="mertools"), PredictParams(), task_of(quick), project, HeadCache(None))
    told = json.loads(project.metrics("ablation").read_text())
    without = told["variants"]["pseudo off"]["given"]["weighted_f1"]
    assert [without, told["reference"]["given"]["weighted_f1"]] == scores
    assert scores[0] != scores[1]


def with_pseudo(planted: Planted) -> Labels:
    """Ten clips of the pool, another one left out for every fold."""
    label = np.where(np.arange(10) == np.arange(5)[:, None], MISSING, planted.true[60:70])
    return replace(labels_of(planted), pseudo_ids=planted.clip_ids[60:70], pseudo=label)


def test_train_reads_them_and_scores_labelled_clips_only(
    made: tuple[Planted, Made], tmp_path: Path, params: TrainParams
) -> None:
    """The stage on disk: other members than without, the same rows out of fold; other folds are refused."""
    planted, at = made
    quick = params.model_copy(update={"epochs": 2, "seeds": (0,), "single_modality": False})
    found = {}
    for name in ("without", "with"):
        project = write(tmp_path / name, planted)
        if name == "with":
            shutil.copy(at.project.pseudo, project.pseudo)
        train(task_of(quick), 4, project, HeadCache(None))
        rows = pq.read_table(project.out_of_fold)
        assert set(rows["clip_id"].to_pylist()) == set(planted.clip_ids[:60])
        found[name] = json.loads(project.metrics("train").read_text()), rows
    ids, labels = read_pseudo(at.project.pseudo, 4, CLASSES)
    assert (found["with"][0]["pseudo"], found["without"][0]["pseudo"]) == (len(ids), 0)
    assert found["with"][0]["heads"]["ecmf"]["given"]["n"] == 60
    assert not found["with"][1].equals(found["without"][1])
    for f in range(4):
        shown = taken(at.rows(f))
        assert {c: CLASSES[k] for c, k in zip(ids, labels[f], strict=True) if k != MISSING} == shown
    with pytest.raises(StageError, match="made with other folds or classes; run `dvc repro pseudo`"):
        read_pseudo(at.project.pseudo, 5, CLASSES)
    with pytest.raises(StageError, match="made with other folds or classes"):
        read_pseudo(at.project.pseudo, 4, ("sad", "calm", "bored"))


def noisy(planted: Planted, seed: int) -> Planted:
    """The same with features that say less."""
    rng, features = np.random.default_rng((seed, 5)), planted.features
    x = [values + rng.normal(0, 3.0, values.shape) for values in features.x]
    x = [np.where(features.mask[:, m : m + 1], values, 0).astype(np.float32) for m, values in enumerate(x)]
    return replace(planted, features=Features(features.names, tuple(x), features.mask))


def test_they_are_better_than_whoever_made_them_and_help(tmp_path: Path) -> None:
    """Weak features, a good judge, four draws: what is taken is right more often than head or judge, and a head that
    learns from it is better on new clips."""
    gains = []
    for seed in range(4):
        planted = noisy(large(seed, pool=240), seed)
        at = run(tmp_path / str(seed), planted, ON, judge_says(planted, 0.85, seed))
        true = {c: CLASSES[t] for c, t in zip(planted.clip_ids, planted.true, strict=True)}
        rows = [row for row in at.rows(-1) if row["scores"] is not None]
        head = np.mean([CLASSES[int(np.argmax(row["scores"]))] == true[str(row["clip_id"])] for row in rows])  # type: ignore[call-overload]
        right = np.mean([label == true[clip_id] for clip_id, label in taken(rows).items()])
        assert right > max(head, 0.85) + 0.05
        ids, labels = read_pseudo(at.project.pseudo, 4, CLASSES)
        where = [planted.clip_ids.index(clip_id) for clip_id in ids]
        whole = planted.features.take(np.array([*range(60), *where]))
        others = np.setdiff1d(np.arange(60, 310), where)
        plain = labels_of(planted)
        with fixed_threads():
            pair = (
                cross_validate("logreg", features_of(planted), plain, 3, SMALL),
                cross_validate("logreg", whole, replace(plain, pseudo_ids=ids, pseudo=labels), 3, SMALL),
            )
            said = [
                np.mean([one.member.predict(planted.features.take(others)).probabilities for one in v.members], axis=0)
                for v in pair
            ]
        before, after = ((p.argmax(axis=1) == planted.true[others]).mean() for p in said)
        gains.append(after - before)
    assert np.mean(gains) > 0
