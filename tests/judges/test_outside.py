"""Facts about predictions from outside, and about judges in the real runner."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mer_pipeline.base.clips import MANIFEST_SCHEMA
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.run import run
from mer_pipeline.base.runs import Summary
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.config.params import Params, load_params
from mer_pipeline.config.steps import find_step, steps
from mer_pipeline.judges.fusion_head import FusionHeadParams
from mer_pipeline.judges.judge import Judge, make_judge
from mer_pipeline.judges.outside import OutsideParams
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import complete_row, stage_schema
from mer_pipeline.tables.shards import ShardParams, shard_of, write_shard, write_table
from tests.conftest import rows_of
from tests.judges.conftest import CLIPS, KINDS, Make

ROOT = Path(__file__).resolve().parent.parent.parent
CLASSES = ("neutral", "angry", "happy")
SHARDS = 2


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the CSV lies, in an empty project with a manifest of three clips."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/judges/video.csv"
    path.parent.mkdir(parents=True)
    nothing = dict.fromkeys(MANIFEST_SCHEMA.names)
    clips = [{**nothing, "clip_id": name, "group": name, "split": "pool", "has_sound": True} for name in "abc"]
    write_table(tmp_path / "data/manifest.parquet", pa.Table.from_pylist(clips, MANIFEST_SCHEMA))
    return path


def outside() -> Judge[object]:
    return make_judge("video", OutsideParams(kind="csv", input="judges/video.csv", family="video-llm"), CLASSES)


def go(judge: Judge[object], places: Mapping[str, Path], out: str = "rows") -> Summary:
    return run(
        judge,
        places,
        Path(out),
        Path("quarantine.parquet"),
        shards=ShardParams(count=SHARDS),
        quality=QualityParams(max_failed=0),
        runtime=Runtime(device="cpu", store=StoreSettings(url="store")),
    )


def vote(place: Path, text: str, out: str = "rows") -> tuple[Summary, list[tuple[object, object, object]]]:
    """What becomes of a CSV: the run's summary, and each clip's scores, label and reason."""
    place.write_text(text, encoding="utf-8")
    summary = go(outside(), {"manifest": Path("data/manifest.parquet"), "judges/video.csv": place}, out)
    rows = rows_of(Path(out))
    shown = [None if row["scores"] is None else np.round(row["scores"], 3).tolist() for row in rows]
    return summary, [(of, row["label"], row["reason"]) for of, row in zip(shown, rows, strict=True)]


def test_labels_are_whole_votes(place: Path) -> None:
    """One class has all; an empty or NaN label abstains, and a clip without a row has nothing."""
    _, rows = vote(place, "name,label,why\na,happy,smiles\nb,NaN,\nelsewhere,angry,\n")
    assert rows == [([0, 0, 1], "happy", None), (None, None, "abstains"), (None, None, "nothing in judges/video.csv")]


def test_numbers_are_divided_by_their_sum(place: Path) -> None:
    """Counts, percentages or probabilities, the columns in any order."""
    _, rows = vote(place, "\ufeffname,happy,neutral,angry,confidence\na,50,25,25,9\nb,,,,\nc,0.1,0,0.9,\n")
    assert rows == [([0.25, 0.25, 0.5], "happy", None), (None, None, "abstains"), ([0, 0.9, 0.1], "angry", None)]


def test_a_changed_line_makes_one_row_new(place: Path) -> None:
    """Each clip's key covers its own line: the others, and columns that nobody reads, recompute nothing."""
    first, _ = vote(place, "name,label,why\na,happy,x\nb,angry,y\nc,angry,z\n")
    assert first.computed == 3
    again, rows = vote(place, "name,label,why\nc,angry,zz\nb,neutral,y\na,happy,x\n", "again")
    assert (again.computed, again.reused) == (1, 2)
    assert [row[1] for row in rows] == ["happy", "neutral", "angry"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no file data/judges/video.csv"),
        ("name,label\n", "has no rows"),
        ("clip,label\na,happy\n", "no column 'name'"),
        ("name,emotion\na,happy\n", "has neither a column 'label' nor one per class (neutral, angry, happy)"),
        ("name,label,happy\na,happy,1\n", "has a column 'label' and columns of classes (happy); keep one"),
        ("name,happy,angry\na,1,0\n", "no column 'neutral'"),
        ("name,label\na,hapy\n", "'a': unknown label 'hapy' (did you mean 'happy'?)"),
        ("name,label\na,happy\na,angry\n", "'a' stands there twice; keep one of the rows"),
        ("name,neutral,angry,happy\na,1,-1,1\n", "'a', angry: '-1' is no number from 0 up; write 0"),
        ("name,neutral,angry,happy\na,1,nan,1\n", "'a', angry: 'nan' is no number from 0 up"),
        ("name,neutral,angry,happy\na,1,inf,1\n", "'a', angry: 'inf' is no number from 0 up"),
        ("name,neutral,angry,happy\na,1,much,1\n", "'a', angry: 'much' is no number from 0 up"),
        ("name,neutral,angry,happy\na,1,,1\n", "'a', angry: '' is no number from 0 up"),
        ("name,neutral,angry,happy\na,0,0,0\n", "'a': the numbers sum to 0; leave all cells empty where it abstains"),
    ],
)
def test_what_is_wrong_is_said_before_any_clip(place: Path, text: str | None, says: str) -> None:
    """One sentence with file, row and remedy."""
    if text is not None:
        place.write_text(text)
    with pytest.raises(DatasetError) as caught:
        outside()
    assert says in str(caught.value)
    assert "video.csv" in str(caught.value)


def test_strange_names_are_counted_and_all_strange_is_an_error(place: Path) -> None:
    """A CSV may say more than the dataset has; one that says nothing of it is the wrong one."""
    place.write_text("name,label\na,happy\nz,angry\n")
    assert outside().note(lambda: {"a", "b"}) == "1 names of data/judges/video.csv are no clips (z)"
    assert outside().note(lambda: {"a", "z"}) == ""
    with pytest.raises(DatasetError, match="none of its names is a clip: it says 'a', the manifest 'x'"):
        outside().note(lambda: {"x", "y"})


TABLES = {
    "frames": pa.schema([("jpegs", pa.list_(pa.binary())), ("times", pa.list_(pa.float64()))]),
    "faces": pa.schema(
        [
            ("crops", pa.list_(pa.binary())),
            ("times", pa.list_(pa.float64())),
            ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            ("landmarks", pa.list_(pa.list_(pa.float32(), 10))),
            ("coverage", pa.float32()),
        ]
    ),
    "audio": pa.schema([("pcm", pa.binary())]),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_runs_as_a_stage(make: Make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real tables, runner and store: a row per clip; a second run of a new process computes nothing."""
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    monkeypatch.chdir(tmp_path)
    table = KINDS[name]["input"]
    write_stage(Path(table), table, TABLES[table])
    first = go(make(name, setup=False), {table: Path(table)})
    assert (first.clips, first.computed, first.done) == (len(CLIPS), len(CLIPS), len(CLIPS))
    second = go(make(name, setup=False), {table: Path(table)}, "again")
    assert (second.computed, second.reused) == (0, len(CLIPS))
    assert [p.read_bytes() for p in sorted(Path("rows").iterdir())] == [
        p.read_bytes() for p in sorted(Path("again").iterdir())
    ]


def write_stage(folder: Path, table: str, schema: pa.Schema) -> None:
    """`data/TABLE` with the clips of conftest."""
    rows: list[list[Mapping[str, object]]] = [[] for _ in range(SHARDS)]
    for c in CLIPS:
        values = c.rows[table]
        rows[shard_of(c.clip_id, SHARDS)].append(complete_row(c.clip_id, "", values, None, schema))
    folder.mkdir()
    for bucket, members in enumerate(rows):
        write_shard(folder, bucket, members, stage_schema(schema), {})


class TestCommands:
    """`mer plan`, `verify`, `explain` and `quarantine` know judges as they know encoders."""

    @pytest.fixture
    def params(self) -> Params:
        judges = {
            "video": OutsideParams(kind="csv", input="judges/video.csv", family="video-llm"),
            "own": FusionHeadParams(kind="fusion-head", input="features"),
        }
        return load_params(ROOT / "params.yaml").model_copy(update={"judges": judges})

    @pytest.mark.parametrize("name", ["vote@video", "vote-video", "votes/video", "video"])
    def test_a_judge_has_its_step(self, params: Params, name: str) -> None:
        """By DVC's name, the transform's, the table's or its own; the fusion-head judge has no rows of single clips."""
        step = find_step(name, params)
        assert (step.stage, step.name, step.table) == ("vote@video", "vote-video", "votes/video")
        assert not [step for step in steps(params) if step.name == "vote-own"]

    def test_the_step_makes_what_the_stage_runs(self, params: Params, place: Path) -> None:
        """Same name, so same quarantine and store."""
        place.write_text("name,label\na,happy\n")
        assert find_step("vote@video", params).make().name == "vote-video"
