"""The judges' tables become votes: those that are named, on labelled clips, each where it may be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mer_pipeline.base.clips import VOTES_SCHEMA
from mer_pipeline.base.errors import ParamsError, StageError
from mer_pipeline.judges.fusion_head import FusionHeadParams
from mer_pipeline.judges.outside import OutsideParams
from mer_pipeline.labels.audit import label_table
from mer_pipeline.labels.judges import ALL_VOTES_SCHEMA, HELD_OUT, OPINIONS, opinions, serving, with_judges
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.summary import agree
from mer_pipeline.labels.votes import SCORES
from mer_pipeline.metrics.labels import FamilyVotes, JudgeVotes
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import forget_others, write_shard

CLASSES = ("neutral", "angry")
FACE = OutsideParams(kind="csv", input="face.csv", family="face")
OWN = FusionHeadParams(kind="fusion-head", input="features")
FOLDS = pa.table({"clip_id": ["a", "b", "c"], "fold": pa.array([0, 1, 2], pa.int32())})
GIVEN = pa.table(
    [["a", "b", "c", "a"], ["given", "given", "given", "crowd"], ["human"] * 3 + ["crowd"], ["angry"] * 4],
    schema=VOTES_SCHEMA,
)
EVERY = [(clip, held) for clip, fold in (("a", 0), ("b", 1), ("c", 2)) for held in (-1, 0, 1, 2) if held != fold]


def write_votes(
    root: Path, name: str, said: Sequence[tuple[str, bool, str | None]], held_out: Sequence[int] | None = None
) -> None:
    """A judge's folder of two shards: clip, valid, label; and the held-out folds of a judge that has them."""
    scores = np.full(2, 0.5, np.float32)
    schema = stage_schema(pa.schema([("scores", pa.list_(pa.float32(), 2)), ("label", pa.string())]))
    rows = [
        {
            "clip_id": clip_id,
            "scores": scores if valid else None,
            "label": label,
            "valid": valid,
            "reason": None if valid else "no face",
            "digest": "",
            "input_digest": "",
        }
        for clip_id, valid, label in said
    ]
    if held_out is not None:
        schema = schema.append(pa.field(HELD_OUT, pa.int32()))
        rows = [{**row, HELD_OUT: held} for row, held in zip(rows, held_out, strict=True)]
    for bucket in (0, 1):
        write_shard(root / name, bucket, rows[bucket::2], schema, {"transform": f"vote-{name}"})


def write_own(root: Path, label: str = "neutral", rows: Sequence[tuple[str, int]] = EVERY) -> None:
    """A judge with a vote for every held-out fold."""
    write_votes(root, "own", [(clip_id, True, label) for clip_id, _ in rows], [held for _, held in rows])


def test_a_judge_votes_where_it_has_a_label(tmp_path: Path) -> None:
    """Not where its row is invalid, where it abstains, or on a clip without a given label."""
    write_votes(tmp_path, "face", [("c", True, "neutral"), ("a", False, None), ("b", True, None), ("x", True, "angry")])
    votes = with_judges(GIVEN, tmp_path, {"face": FACE}, FOLDS, CLASSES)
    assert votes.schema == ALL_VOTES_SCHEMA
    assert votes.slice(0, 4).select(VOTES_SCHEMA.names).to_pylist() == GIVEN.to_pylist()
    assert votes.slice(4).to_pylist() == [
        {"clip_id": "c", "source": "face", "family": "face", "label": "neutral", SCORES: [0.5, 0.5]}
        | {"worker": None, "count": None, HELD_OUT: None}
    ]
    assert votes[SCORES].slice(0, 4).null_count == 4
    assert serving(votes, -1).equals(votes)
    assert serving(votes, 2).equals(votes)


def test_only_named_judges_are_read(tmp_path: Path) -> None:
    """A folder that params do not name may be anything, even torn; a missing one is an error with its remedy."""
    write_votes(tmp_path, "face", [("a", True, "neutral")])
    (tmp_path / "old").mkdir()
    (tmp_path / "old/part-00000.parquet").write_bytes(b"torn")
    assert with_judges(GIVEN, tmp_path, {"face": FACE}, FOLDS, CLASSES).num_rows == 5
    assert with_judges(GIVEN, tmp_path, {}, FOLDS, CLASSES).num_rows == 4
    with pytest.raises(StageError, match="dvc repro vote@voice"):
        with_judges(GIVEN, tmp_path, {"face": FACE, "voice": FACE}, FOLDS, CLASSES)


def test_a_judge_named_like_a_source_is_one_error(tmp_path: Path) -> None:
    """The dataset's 'crowd' and a judge 'crowd' could not be told apart."""
    with pytest.raises(ParamsError, match="'crowd' is also a source"):
        with_judges(GIVEN, tmp_path, {"crowd": FACE}, FOLDS, CLASSES)


def test_a_judge_with_held_out_folds_serves_each_with_its_own_votes(tmp_path: Path) -> None:
    """Held-out fold f sees the rows of f and no others; a judge without the column serves all."""
    write_votes(tmp_path, "face", [("a", True, "neutral")])
    write_votes(
        tmp_path,
        "own",
        [(clip_id, True, "angry" if held == 1 else "neutral") for clip_id, held in EVERY],
        [held for _, held in EVERY],
    )
    votes = with_judges(GIVEN, tmp_path, {"face": FACE, "own": OWN}, FOLDS, CLASSES)
    for held_out, clips in ((-1, "abc"), (0, "bc"), (1, "ac"), (2, "ab")):
        here = serving(votes, held_out)
        own = here.filter(pc.equal(here["source"], "own"))
        assert sorted(own["clip_id"].to_pylist()) == list(clips)
        assert set(own["label"].to_pylist()) == {"angry" if held_out == 1 else "neutral"}
        assert set(own["family"].to_pylist()) == {"own"}
        assert here.num_rows == 5 + len(clips)
    labels = label_table(votes, FOLDS, CLASSES, LabelParams(method="majority"))
    assert {(row["clip_id"], row["held_out_fold"]): row["votes"].split()[-1] for row in labels.to_pylist()} == {
        (clip_id, held): f"own={'angry' if held == 1 else 'neutral'}" for clip_id, held in EVERY
    }


@pytest.mark.parametrize("rows", [EVERY[1:], [*EVERY, ("a", 0)], [("a", -1), ("b", -1), ("c", -1)]])
def test_votes_of_other_folds_are_refused(tmp_path: Path, rows: list[tuple[str, int]]) -> None:
    """They would carry a held-out fold's labels into its training."""
    write_own(tmp_path, rows=rows)
    with pytest.raises(StageError, match="other folds; run `dvc repro vote@own`"):
        with_judges(GIVEN, tmp_path, {"own": OWN}, FOLDS, CLASSES)


def test_the_summary_counts_votes_and_abstentions(tmp_path: Path) -> None:
    """Per judge, over the labelled clips; a judge that has nothing to say is there too."""
    write_votes(tmp_path, "face", [("c", True, "neutral"), ("a", False, None), ("x", True, "angry")])
    write_votes(tmp_path, "mute", [("a", False, None)])
    write_own(tmp_path)
    judges = {"face": FACE, "mute": FACE, "own": OWN}
    votes = with_judges(GIVEN, tmp_path, judges, FOLDS, CLASSES)
    summary = agree(votes, label_table(votes, FOLDS, CLASSES, LabelParams()), CLASSES, LabelParams(), judges)
    assert summary.judges == {
        "face": JudgeVotes(votes=1, abstentions=2),
        "mute": JudgeVotes(votes=0, abstentions=3),
        "own": JudgeVotes(votes=3, abstentions=0),
    }
    assert summary.families["own"] == FamilyVotes(sources=("own",), votes=3)
    assert {(pair.a, pair.b) for pair in summary.pairs} >= {("human", "own"), ("face", "own")}


def test_what_a_judge_left_behind_is_forgotten(tmp_path: Path) -> None:
    """Its folder and quarantine file go when params no longer name it; a person's own folder stays."""
    votes, quarantine = tmp_path / "votes", tmp_path / "quarantine"
    quarantine.mkdir()
    for name in ("kept", "gone"):
        write_votes(votes, name, [("a", True, "angry"), ("b", True, "angry")])
        (quarantine / f"vote-{name}.parquet").touch()
    write_votes(votes, "mine", [("a", True, "angry"), ("b", True, "angry")])
    (votes / "mine").rename(votes / "theirs")
    (votes / "given.parquet").touch()
    forget_others(votes, "vote", ["kept"], quarantine)
    assert sorted(path.name for path in votes.iterdir()) == ["given.parquet", "kept", "theirs"]
    assert [path.name for path in quarantine.iterdir()] == ["vote-kept.parquet"]


def test_opinions_are_the_own_heads_and_of_labelled_clips(tmp_path: Path) -> None:
    """Also where it abstains from a vote; other judges' scores are not out of fold."""
    write_votes(tmp_path, "face", [("a", True, "neutral")])
    assert opinions(tmp_path, {"face": FACE}, FOLDS) is None
    said = [(clip_id, True, None if clip_id == "a" else "angry") for clip_id, _ in EVERY]
    write_votes(tmp_path, "own", [*said, ("x", True, "angry")], [*(held for _, held in EVERY), -1])
    found = opinions(tmp_path, {"face": FACE, "own": OWN}, FOLDS)
    assert found is not None
    assert found.column_names == [*OPINIONS, HELD_OUT]
    assert sorted(zip(found["clip_id"].to_pylist(), found[HELD_OUT].to_pylist(), strict=True)) == sorted(EVERY)
