"""The fusion-head judge votes on clips that it has not learnt from; a vote for held-out fold f knows nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import PROBLEM_SCHEMA, VOTES_SCHEMA
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.base import Examples
from mer_pipeline.judges.fusion_head import FusionHead, FusionHeadParams
from mer_pipeline.labels.audit import label_table
from mer_pipeline.labels.judges import with_judges
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.tables.shards import ShardParams, read_folder
from mer_pipeline.training.fusion_head_judge import own_schema, vote_by_head
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fit_members, fixed_threads
from tests.planted import CLASSES, Planted, plant, task_of, write
from tests.training.test_cross_validation import features_of, labels_of

OWN = FusionHeadParams(kind="fusion-head", input="features")
C = [1e-2, 1e-1]
SMALL = TrainParams(d=16, epochs=6, patience=3, seeds=(0, 1), lr=3e-3, heads={"ecmf": {}, "logreg": {"c": C}})


def run(
    root: Path,
    planted: Planted,
    params: TrainParams,
    judge: FusionHeadParams = OWN,
    store: Path | None = None,
    **choices: bool,
) -> tuple[pa.Table, str]:
    """The judge's table on a planted dataset, and the line that the stage prints."""
    project, cache = write(root, planted, **choices), HeadCache(None if store is None else str(store))
    line = vote_by_head(FusionHead("own", judge, ShardParams(count=3)), task_of(params), project, cache)
    return read_folder(project.table("votes/own")), line


def cells(table: pa.Table, held_out: int) -> dict[str, Mapping[str, object]]:
    """What the judge says where a fold is held out, by clip; without the digests of what it was made from."""
    rows = table.filter(pc.equal(table["held_out_fold"], held_out)).drop_columns("input_digest").to_pylist()
    return {row["clip_id"]: row for row in rows}


def votes_of(planted: Planted) -> pa.Table:
    """The given labels, and those of an annotator who knows the truth but for some clips."""
    labelled = np.flatnonzero(planted.fold >= 0)
    said = {"given": ("human", planted.given), "crowd": ("crowd", planted.true)}
    rows = [
        (planted.clip_ids[i], s, f, CLASSES[c[i]])
        for s, (f, c) in said.items()
        for i in labelled
        if i % 7 or f == "human"
    ]
    return pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=VOTES_SCHEMA)


def test_a_row_per_clip_and_held_out_fold(planted: Planted, tmp_path: Path) -> None:
    """Fold f's clips have none for f; scores sum to 1, the label has most, and shards and quarantine are as usual."""
    table, line = run(tmp_path, planted, SMALL)
    assert line == "vote-own: logreg votes on 99 clips, 60 of them labelled"
    assert table.schema.remove_metadata() == own_schema(3)
    for f in range(-1, 5):
        here = {c for c, fold in zip(planted.clip_ids, planted.fold, strict=True) if f == -1 or fold != f}
        assert cells(table, f).keys() == here
    assert table.num_rows == 100 + 5 * 88
    for row in table.to_pylist():
        if row["valid"]:
            assert sum(row["scores"]) == pytest.approx(1, abs=1e-5)
            assert row["label"] == CLASSES[int(np.argmax(row["scores"]))]
        else:
            assert (row["scores"], row["label"], row["reason"]) == (None, None, "no modality")
    assert {row["clip_id"] for row in table.to_pylist() if not row["valid"]} == {"c099"}
    assert len(list(Project(tmp_path).table("votes/own").iterdir())) == 3
    assert pq.read_table(Project(tmp_path).quarantine("vote-own")).equals(PROBLEM_SCHEMA.empty_table())
    footer = pq.read_schema(Project(tmp_path).table("votes/own") / "part-00000.parquet").metadata
    assert footer[b"mer.transform"] == b"vote-own"


@pytest.fixture(scope="module", params=["logreg", "ecmf"])
def relabelled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Planted, Project]]:
    """A planted dataset with its votes, and the same one with another given label on every clip of fold 2."""
    one = plant()
    two = replace(one, given=np.where(one.fold == 2, (one.given + 1) % 3, one.given))
    roots = [tmp_path_factory.mktemp(request.param) for _ in range(2)]
    for planted, root in zip((one, two), roots, strict=True):
        run(root, planted, SMALL, OWN.model_copy(update={"head": request.param}))
    return list(zip((one, two), map(Project, roots), strict=True))


def test_a_held_out_fold_has_no_say(relabelled: list[tuple[Planted, Project]]) -> None:
    """Other given labels on fold 2's clips: no vote of held-out fold 2 moves, nor a label refined with them."""
    refined = []
    for planted, project in relabelled:
        folds = pq.read_table(project.folds)
        votes = with_judges(votes_of(planted), project.votes, {"own": OWN}, folds, CLASSES)
        labels = label_table(
            votes, folds, CLASSES, LabelParams(method="dawid-skene", max_changed=1.0, min_posterior=0.5)
        )
        refined.append({f: labels.filter(pc.equal(labels["held_out_fold"], f)) for f in range(-1, 5)})
    one, two = (read_folder(at.table("votes/own")) for _, at in relabelled)
    assert cells(one, 2) == cells(two, 2)
    assert refined[0][2].equals(refined[1][2])
    assert any(refined[0][2]["changed"].to_pylist())
    assert "own=" in refined[0][2]["votes"][0].as_py()
    for f in (-1, 0, 1, 3, 4):
        assert cells(one, f) != cells(two, f)
        assert not refined[0][f].equals(refined[1][f])


def test_plain_out_of_fold_votes_would_leak(relabelled: list[tuple[Planted, Project]]) -> None:
    """The votes of held-out fold -1 on the other folds' clips do move with fold 2's labels: why there is nesting."""
    (planted, project), (_, other) = relabelled
    one, two = (cells(read_folder(at.table("votes/own")), -1) for at in (project, other))
    elsewhere = [c for c, fold in zip(planted.clip_ids, planted.fold, strict=True) if fold not in (-1, 2)]
    assert any(one[clip_id] != two[clip_id] for clip_id in elsewhere)


def test_a_clip_has_no_say_in_its_own_vote(relabelled: list[tuple[Planted, Project]]) -> None:
    """Other given labels on fold 2: no held-out fold's votes on fold 2's own clips move."""
    (planted, project), (_, other) = relabelled
    one, two = (read_folder(at.table("votes/own")) for at in (project, other))
    own = [c for c, fold in zip(planted.clip_ids, planted.fold, strict=True) if fold == 2]
    for f in (-1, 0, 1, 3, 4):
        before, after = cells(one, f), cells(two, f)
        assert all(before[clip_id] == after[clip_id] for clip_id in own)


def test_votes_are_those_of_a_head_trained_by_hand(planted: Planted, tmp_path: Path) -> None:
    """Held out 1, clips of fold 3: a head on folds 0, 2 and 4 with given labels; the pool: the mean of four."""
    table, _ = run(tmp_path, planted, SMALL)
    labels, features = labels_of(planted), features_of(planted)
    pool = np.flatnonzero(planted.fold < 0)
    said = {}
    with fixed_threads():
        for g in (0, 2, 3, 4):
            left = np.flatnonzero((labels.fold != 1) & (labels.fold != g))
            examples = Examples.of(left, labels.given[left], labels.fold[left], len(CLASSES))
            ((member, _),) = fit_members("logreg", features, [(examples, None)], [0], 3, SMALL)
            said[g] = member.predict(planted.features).probabilities
    here = cells(table, 1)
    for i in np.flatnonzero(planted.fold == 3):
        np.testing.assert_allclose(here[planted.clip_ids[i]]["scores"], said[3][i], atol=1e-5)
    mean = np.mean([said[g] for g in said], axis=0)
    for i in pool[:-1]:
        np.testing.assert_allclose(here[planted.clip_ids[i]]["scores"], mean[i], atol=1e-5)


def test_votes_are_better_than_chance(planted: Planted, tmp_path: Path) -> None:
    """On planted data the fusion-head judge is right more often than not, on labelled clips and on the pool."""
    table, _ = run(tmp_path, planted, SMALL)
    true = {c: CLASSES[t] for c, t in zip(planted.clip_ids, planted.true, strict=True)}
    for f in (-1, 0, 4):
        right = [row["label"] == true[clip_id] for clip_id, row in cells(table, f).items()]
        assert np.mean(right) > 0.6


def test_it_abstains_below_its_least_score(planted: Planted, tmp_path: Path) -> None:
    """The scores stay; the label is null where no class has `min_score`."""
    one, _ = run(tmp_path / "one", planted, SMALL)
    two, _ = run(tmp_path / "two", planted, SMALL, OWN.model_copy(update={"min_score": 0.6}))
    assert one["scores"].equals(two["scores"])
    unsure = 0
    for before, after in zip(one.to_pylist(), two.to_pylist(), strict=True):
        sure = before["valid"] and max(before["scores"]) >= 0.6
        assert after["label"] == (before["label"] if sure else None)
        assert after["valid"] == before["valid"]
        unsure += before["valid"] and not sure
    assert unsure > 10


@pytest.mark.parametrize(
    ("planted_so", "reason"),
    [
        (plant(labelled=24, others=5, folds=2), "fewer than 3 folds"),
        (plant(labelled=24, others=5, folds=1), "fewer than 3 folds"),
        (replace(plant(), given=np.zeros(100, np.int64)), "the same label"),
    ],
)
def test_where_nothing_can_be_learnt_it_abstains(planted_so: Planted, reason: str, tmp_path: Path) -> None:
    """Every row says why, and the labels stage goes on without its votes."""
    table, line = run(tmp_path, planted_so, SMALL)
    assert reason in line
    assert table.num_rows
    for row in table.to_pylist():
        assert not row["valid"]
        assert reason in row["reason"]
    folds = pq.read_table(Project(tmp_path).folds)
    given = votes_of(planted_so)
    assert with_judges(given, Project(tmp_path).votes, {"own": OWN}, folds, CLASSES).num_rows == given.num_rows


def test_without_labels_it_abstains(planted: Planted, tmp_path: Path) -> None:
    """A dataset that has only clips to predict."""
    table, line = run(tmp_path, planted, SMALL, labelled=False)
    assert "no labelled clips" in line
    assert table["held_out_fold"].unique().to_pylist() == [-1]
    assert table.num_rows == 100


def test_three_folds_are_enough(tmp_path: Path) -> None:
    """Each head then learns from one fold, whether it uses a validation fold or not."""
    three = plant(labelled=45, others=5, folds=3)
    for head in ("logreg", "mertools"):
        table, _ = run(tmp_path / head, three, SMALL, OWN.model_copy(update={"head": head}))
        assert {c for c, row in cells(table, 0).items() if not row["valid"]} == {"c049"}


@pytest.mark.parametrize("head", ["logreg", "ecmf"])
def test_twice_the_same_bytes(head: HeadName, planted: Planted, tmp_path: Path) -> None:
    """Without a store, with an empty one, and from what that one remembers."""
    judge = OWN.model_copy(update={"head": head})
    folders = []
    for name, store in (("plain", None), ("cold", tmp_path / "store"), ("warm", tmp_path / "store")):
        run(tmp_path / name, planted, SMALL, judge, store)
        folders.append([path.read_bytes() for path in sorted(Project(tmp_path / name).table("votes/own").iterdir())])
    assert folders[0] == folders[1] == folders[2]


def test_every_member_is_counted(planted: Planted, tmp_path: Path) -> None:
    """Progress ends at k² members per seed."""
    project = write(tmp_path, planted)
    told: list[tuple[int, int]] = []
    params = SMALL.model_copy(update={"epochs": 1})
    judge = FusionHead("own", OWN.model_copy(update={"head": "mertools"}), ShardParams())
    vote_by_head(judge, task_of(params), project, HeadCache(None), lambda done, total: told.append((done, total)))
    assert told == [(i + 1, 50) for i in range(50)]
