"""Crowds whose raters are known: by name or by number, by every public way, and what the run says about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mer_pipeline.base.clips import CROWD_FIELDS, GIVEN, VOTES_SCHEMA
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.datasets.listing import Entry, Listing, add_votes
from mer_pipeline.judges.judge import make_judge
from mer_pipeline.judges.outside import OutsideParams
from mer_pipeline.labels.audit import label_table
from mer_pipeline.labels.judges import with_judges
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.summary import agree
from mer_pipeline.labels.votes import MISSING, read_votes
from mer_pipeline.metrics.labels import LabelMetrics
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import write_shard
from tests.labels import crowds
from tests.labels.crowds import Made

CLASSES = ("joy", "sad", "calm")
SCHEMA = pa.schema([*VOTES_SCHEMA, *CROWD_FIELDS])


def table(*rows: tuple[str, str, str, str, str | None, int | None]) -> pa.Table:
    """Votes: clip, source, family, label, worker, count."""
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


def given(*labels: str) -> list[tuple[str, str, str, str, None, None]]:
    """Given labels of the clips a, b, ..."""
    return [(clip, GIVEN, "human", label, None, None) for clip, label in zip("abcdef", labels, strict=False)]


def test_workers_are_counted_and_known_one_by_one() -> None:
    """The crowd's vote is what most workers say, none in a tie; its evidence is all of them, and each has a column."""
    rows = [
        ("a", "mturk", "crowd", "sad", "w1", None),
        ("a", "mturk", "crowd", "sad", "w2", None),
        ("a", "mturk", "crowd", "joy", "w3", None),
        ("b", "mturk", "crowd", "joy", "w1", None),
        ("b", "mturk", "crowd", "calm", "w3", None),
    ]
    votes = read_votes(table(*given("joy", "joy"), *rows), ["a", "b"], CLASSES)
    assert votes.matrix.tolist() == [[0, 1], [0, MISSING]]
    assert votes.evidence[:, 1].tolist() == [[1, 2, 0], [1, 0, 1]]
    assert votes.raters[0] is None
    assert votes.raters[1] is not None
    assert votes.raters[1].tolist() == [[1, 1, 0], [0, MISSING, 2]]
    assert votes.spoken[0] == "given=joy mturk=sad×2 mturk=joy×1"


def test_counts_are_the_same_without_names() -> None:
    """Vote and evidence are those of the workers."""
    rows = [("a", "mturk", "crowd", "sad", None, 2), ("a", "mturk", "crowd", "joy", None, 1)]
    votes = read_votes(table(*given("joy"), *rows), ["a"], CLASSES)
    assert votes.matrix.tolist() == [[0, 1]]
    assert votes.evidence[:, 1].tolist() == [[1, 2, 0]]
    assert votes.raters == ()


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "m", "crowd", "sad", "w1", None), ("a", "m", "crowd", "joy", "w1", None)],
        [("a", "m", "crowd", "sad", None, 2), ("a", "m", "crowd", "sad", None, 1)],
        [("a", "m", "crowd", "sad", None, None), ("a", "m", "crowd", "joy", "w1", None)],
        [("a", "m", "crowd", "sad", None, None), ("a", "m", "crowd", "joy", None, None)],
    ],
)
def test_nobody_votes_twice(rows: Sequence[tuple[str, str, str, str, str | None, int | None]]) -> None:
    """No worker, no label that is counted, and no source without raters."""
    with pytest.raises(DatasetError, match="votes twice on clip 'a'"):
        read_votes(table(*given("joy"), *rows), ["a"], CLASSES)


def listed(tmp_path: Path, text: str) -> Listing:
    """A votes CSV, read for the clips a and b."""
    path = tmp_path / "votes.csv"
    path.write_text(text)
    listing = Listing(entries={clip: Entry(clip) for clip in "ab"})
    add_votes(listing, path, CLASSES)
    return listing


def test_a_votes_csv_has_workers_or_counts(tmp_path: Path) -> None:
    """Columns beside those of a plain vote; an empty cell is a plain vote."""
    found = listed(
        tmp_path, "name,source,family,label,worker,count\na,m,crowd,sad,w1,\na,m,crowd,joy,w2,\nb,n,n,joy,,3\n"
    )
    assert [(v.label, v.worker, v.count) for v in found.votes] == [
        ("sad", "w1", None),
        ("joy", "w2", None),
        ("joy", None, 3),
    ]
    with pytest.raises(DatasetError, match="the count 'few' is no whole number above 0"):
        listed(tmp_path, "name,source,family,label,count\na,m,crowd,sad,few\n")
    with pytest.raises(DatasetError, match="source 'm' votes twice on 'a'; a crowd needs a column 'worker'"):
        listed(tmp_path, "name,source,family,label\na,m,crowd,sad\na,m,crowd,joy\n")
    with pytest.raises(DatasetError, match="worker 'w1' of source 'm' votes twice"):
        listed(tmp_path, "name,source,family,label,worker\na,m,crowd,sad,w1\na,m,crowd,joy,w1\n")


def judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: Sequence[Sequence[float]]
) -> list[tuple[str, str, int | None]]:
    """The votes on the clips a, b, ... that a judge `csv` makes of these numbers, and `labels` of its rows."""
    monkeypatch.chdir(tmp_path)
    lines = [",".join(map(str, [clip, *row])) for clip, row in zip("abcdef", numbers, strict=False)]
    Path("data").mkdir()
    Path("data/crowd.csv").write_text("\n".join([",".join(["name", *CLASSES]), *lines]))
    params = OutsideParams(kind="csv", input="crowd.csv", family="crowd")
    judge = make_judge("crowd", params, CLASSES)
    made = judge.infer([np.array(row, dtype=np.float64) for row in numbers])
    about = {"valid": True, "reason": None, "digest": "", "input_digest": ""}
    rows = [{**about, "clip_id": clip, **row} for clip, row in zip("abcdef", made, strict=False)]  # type: ignore[dict-item]
    write_shard(tmp_path / "crowd", 0, rows, stage_schema(judge.schema), {})
    folds = pa.table({"clip_id": list("abcdef"[: len(rows)]), "fold": pa.array([0] * len(rows), pa.int32())})
    plain = pa.Table.from_pylist([], schema=VOTES_SCHEMA)
    votes = with_judges(plain, tmp_path, {"crowd": params}, folds, CLASSES)
    return list(zip(*(votes[name].to_pylist() for name in ("clip_id", "label", "count")), strict=True))


def test_a_csv_judge_of_counts_is_a_crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers are raters, also where two classes have as many."""
    assert judged(tmp_path, monkeypatch, [[7, 2, 0], [3, 3, 1]]) == [
        ("a", "joy", 7),
        ("a", "sad", 2),
        ("b", "joy", 3),
        ("b", "sad", 3),
        ("b", "calm", 1),
    ]


@pytest.mark.parametrize("numbers", [[[0.7, 0.2, 0.1]] * 2, [[70, 20, 10], [10, 10, 80]], [[1.5, 2, 0], [1, 2, 3]]])
def test_a_csv_judge_of_scores_has_one_vote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: Sequence[Sequence[float]]
) -> None:
    """Shares, per cent, and numbers that are not whole."""
    assert all(count is None for _, _, count in judged(tmp_path, monkeypatch, numbers))


def summary(made: Made, params: LabelParams, *, how: str) -> LabelMetrics:
    """metrics/labels.json of a made crowd, whose one other family is given by its workers, its counts or its vote."""
    clips = [f"c{i:04d}" for i in range(len(made.true))]
    rows = [(clip, GIVEN, "human", made.names[c], None, None) for clip, c in zip(clips, made.given, strict=True)]
    for at, family in enumerate(made.families):
        for i, clip in enumerate(clips):
            counts = np.bincount(family[i][family[i] != MISSING], minlength=made.classes)
            if how == "workers":
                rows += [(clip, f"m{at}", f"f{at}", made.names[c], f"w{w}", None) for w, c in enumerate(family[i])]
            elif how == "counts":
                rows += [(clip, f"m{at}", f"f{at}", made.names[c], None, int(n)) for c, n in enumerate(counts) if n]
            else:
                rows += [(clip, f"m{at}", f"f{at}", made.names[int(counts.argmax())], None, None)]
    votes = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)
    folds = pa.table({"clip_id": clips, "fold": pa.array([0] * len(clips), pa.int32())})
    labels = label_table(votes, folds, made.names, params)
    return agree(votes, labels, made.names, params)


def test_a_crowd_that_is_one_vote_is_told_how_to_be_more() -> None:
    """One label a clip from one other family changes nothing, and the run says so, and offers workers and counts. With
    them labels change, and the file has the crowd's own reliability."""
    made = crowds.nine_workers(100)
    made = Made(made.true[:400], made.given[:400], (made.families[0][:400],), made.classes)
    alone = summary(made, LabelParams(), how="vote")
    assert alone.changed == 0
    assert any("'worker'" in warning and "'count'" in warning for warning in alone.warnings)
    assert any("nobody can tell" in warning for warning in alone.warnings)
    anchored = summary(made, LabelParams(method="human-anchored"), how="vote")
    assert any("labels.min_families is 2" in warning for warning in anchored.warnings)
    counted = summary(made, LabelParams(), how="counts")
    assert counted.changed > 40
    crowd = counted.crowds["f0"]
    assert crowd.raters == 9
    assert 1 < crowd.worth < 9
    assert crowd.accuracy == pytest.approx(0.42, abs=0.1)
    assert not any("'worker'" in warning for warning in counted.warnings)


def test_three_families_are_told_that_nobody_can_tell() -> None:
    """No source has an interval, and `labels.independent` is named; where it is set, nothing is said."""
    made = crowds.copied(100)
    made = Made(made.true[:300], made.given[:300], tuple(f[:300] for f in made.families), made.classes)
    found = summary(made, LabelParams(), how="vote")
    assert found.changed == 0
    assert all(source.low is None for source in found.sources.values())
    assert any("labels.independent: true" in warning for warning in found.warnings)
    told = summary(made, LabelParams(independent=True), how="vote")
    assert told.warnings == ()
    assert all(source.low is not None for source in told.sources.values())
