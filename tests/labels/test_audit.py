"""data/labels.parquet: its rows, its held-out folds, its words, and the agreement summary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import cohen_kappa_score

from mer_pipeline.config.project import Project
from mer_pipeline.labels.audit import label_schema, label_table, write_labels
from mer_pipeline.labels.confident import suspects
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.summary import agree
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.labels import FamilyVotes
from mer_pipeline.tables.shards import write_table

CLASSES = ("neutral", "angry", "happy")
SOURCES = {"given": "human", "crowd": "crowd", "listener": "listener", "reader": "reader"}
N = 90


def planted(seed: int = 0) -> dict[str, np.ndarray]:
    """Each source's labels of N clips, three in four right."""
    rng = np.random.default_rng(seed)
    true = rng.integers(3, size=N)
    return {s: np.where(rng.random(N) < 0.75, true, rng.integers(3, size=N)) for s in SOURCES}


def tables(said: dict[str, np.ndarray]) -> tuple[pa.Table, pa.Table]:
    """Votes and folds."""
    rows = [(f"c{i:03d}", s, SOURCES[s], CLASSES[c]) for s, column in said.items() for i, c in enumerate(column)]
    rows = rows[::-1]
    votes = pa.table({n: [row[i] for row in rows] for i, n in enumerate(("clip_id", "source", "family", "label"))})
    folds = pa.table({"clip_id": [f"c{i:03d}" for i in range(N)], "fold": pa.array(np.arange(N) % 3, pa.int32())})
    return votes, folds


def part(labels: pa.Table, fold: int) -> pa.Table:
    """The rows of one held-out fold."""
    return labels.filter(pc.equal(labels["held_out_fold"], fold))


def test_rows_are_those_of_the_contract() -> None:
    """Fold -1 has every clip, fold f all but its own; `changed` and the sentence say what happened."""
    votes, folds = tables(planted())
    labels = label_table(votes, folds, CLASSES, LabelParams())
    assert labels.schema == label_schema(3)
    assert part(labels, -1)["clip_id"].to_pylist() == sorted(folds["clip_id"].to_pylist())
    for f in range(3):
        assert part(labels, f)["clip_id"].to_pylist() == [f"c{i:03d}" for i in range(N) if i % 3 != f]
    rows = labels.to_pylist()
    assert any(row["changed"] for row in rows)
    for row in rows:
        assert row["changed"] == (row["label"] != row["given"])
        assert row["votes"].startswith(f"given={row['given']} crowd=")
        assert (f"{row['given']} changed to {row['label']}" in row["reason"]) == row["changed"]
        assert sum(row["posterior"]) == pytest.approx(1)


def test_a_fold_held_out_has_no_say() -> None:
    """Other votes on fold 1's clips leave every label, posterior and word of held_out_fold=1 as they are."""
    said = planted()
    before = label_table(*tables(said), CLASSES, LabelParams())
    own = np.arange(N) % 3 == 1
    other = {s: np.where(own, (column + 1) % 3, column) for s, column in said.items() if s != "crowd"}
    other["crowd"] = said["crowd"]
    after = label_table(*tables(other), CLASSES, LabelParams())
    assert part(before, 1).equals(part(after, 1))
    assert not part(before, -1).equals(part(after, -1))
    assert not part(before, 0).equals(part(after, 0))


def test_agreement_is_scikit_learns_kappa() -> None:
    """Observed agreement and Cohen's kappa of every pair, on the clips that both vote on."""
    said = planted()
    votes, folds = tables(said)
    votes = votes.filter(pc.invert(pc.and_(pc.equal(votes["source"], "crowd"), pc.less(votes["clip_id"], "c030"))))
    labels = label_table(votes, folds, CLASSES, LabelParams())
    summary = agree(votes, labels, CLASSES, LabelParams())
    assert [(p.a, p.b) for p in summary.pairs][:2] == [("human", "crowd"), ("human", "listener")]
    pair = summary.pairs[0]
    assert pair.n == 60
    assert pair.agreement == pytest.approx((said["given"][30:] == said["crowd"][30:]).mean(), abs=1e-6)
    assert pair.kappa == pytest.approx(cohen_kappa_score(said["given"][30:], said["crowd"][30:]), abs=1e-6)
    assert summary.families["crowd"] == FamilyVotes(sources=("crowd",), votes=60)
    assert summary.changed == sum(part(labels, -1)["changed"].to_pylist())
    assert summary.changed == sum(summary.changed_by_class.values())


def test_the_summary_says_how_far_each_source_can_be_trusted() -> None:
    """An accuracy with its interval around it, rounded; four independent families raise no warning."""
    votes, folds = tables(planted())
    summary = agree(votes, label_table(votes, folds, CLASSES, LabelParams()), CLASSES, LabelParams())
    assert list(summary.sources) == ["given", "crowd", "listener", "reader"]
    for source in summary.sources.values():
        assert source.votes == N
        assert source.low is not None
        assert source.accuracy is not None
        assert source.high is not None
        assert 0 <= source.low < source.accuracy < source.high <= 1
        assert round(source.accuracy, 4) == source.accuracy
    assert summary.dependent == summary.within_families == summary.warnings == ()


def test_a_copying_family_is_a_warning() -> None:
    """Between families, and within one."""
    said = planted()
    rng = np.random.default_rng(5)
    said["reader"] = np.where(rng.random(N) < 0.95, said["crowd"], said["reader"])
    votes, folds = tables(said)
    labels = label_table(votes, folds, CLASSES, LabelParams())
    summary = agree(votes, labels, CLASSES, LabelParams())
    assert [(pair.a, pair.b) for pair in summary.dependent] == [("crowd", "reader")]
    assert summary.warnings[0].startswith("the families 'crowd' and 'reader' agree on 9")
    both = [{"reader": "crowd"}.get(family, family) for family in votes["family"].to_pylist()]
    votes = votes.set_column(2, "family", pa.array(both))
    summary = agree(votes, label_table(votes, folds, CLASSES, LabelParams()), CLASSES, LabelParams())
    assert summary.dependent == ()
    assert summary.warnings[0].startswith("the sources of one family 'crowd' and 'reader' agree on 9")


def test_suspects_are_told_and_change_nothing() -> None:
    """The fusion-head judge's out-of-fold opinion of each held-out fold flags that fold's rows alone."""
    said = planted()
    votes, folds = tables(said)
    rng = np.random.default_rng(2)
    scores = rng.dirichlet([1, 1, 1], size=N)
    clips = [f"c{i:03d}" for i in range(N)]
    head = pa.table(
        {
            "clip_id": clips,
            "scores": pa.array(scores.tolist(), pa.list_(pa.float32(), 3)),
            "held_out_fold": pa.array([-1] * N, pa.int32()),
        }
    )
    plain, labels = (label_table(votes, folds, CLASSES, LabelParams(), opinion) for opinion in (None, head))
    assert plain["suspect"].null_count == plain.num_rows
    assert labels.drop_columns("suspect").equals(plain.drop_columns("suspect"))
    found = suspects(scores.astype(np.float32).astype(np.float64), said["given"])
    assert part(labels, -1)["suspect"].to_pylist() == [None if c == MISSING else CLASSES[c] for c in found]
    assert part(labels, 1)["suspect"].null_count == part(labels, 1).num_rows
    assert agree(votes, labels, CLASSES, LabelParams()).suspect == (found != MISSING).sum() > 0


def test_the_stage_writes_both_files_and_takes_no_labels(tmp_path: Path) -> None:
    """Without a labelled clip the table has no rows and the summary says 0."""
    votes, folds = tables(planted())
    for name, v, f in (("full", votes, folds), ("none", votes.slice(0, 0), folds.slice(0, 0))):
        project = Project(tmp_path / name)
        write_table(project.given, v)
        write_table(project.folds, f)
        write_labels(LabelParams(), {}, CLASSES, project)
        assert json.loads(project.metrics("labels").read_text())["labelled"] == f.num_rows
        assert part(pq.read_table(project.labels), -1).num_rows == f.num_rows


def test_labels_need_no_torch() -> None:
    """Importing the package stays light."""
    code = "import sys, mer_pipeline.labels.audit; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
