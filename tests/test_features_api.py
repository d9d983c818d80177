"""`mer_pipeline.load`, and the page about it, on tables as the stages write them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mer_pipeline
from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import StageError, UsageError
from mer_pipeline.tables.rows import complete_row, stage_schema
from mer_pipeline.tables.shards import shard_name, shard_of, write_shard, write_table

ROOT = Path(__file__).resolve().parent.parent
DIM = 4
CLIPS = [f"c{at}" for at in range(7)]
SILENT = "c3"


def vector(name: str, clip: str) -> np.ndarray:
    return np.arange(DIM, dtype=np.float32) + len(name) + 10 * int(clip[1:]) + 1


def write_features(root: Path, name: str, clips: list[str], shards: int = 3) -> Path:
    """A feature folder; one clip is silent."""
    values = pa.schema([("vector", pa.list_(pa.float32(), DIM))])
    folder = root / "data/features" / name
    for bucket in range(shards):
        rows = []
        for clip in clips:
            done, reason = (None, "silent") if clip == SILENT else ({"vector": vector(name, clip)}, None)
            if shard_of(clip, shards) == bucket:
                rows.append(complete_row(clip, "made-from", done, reason, values))
        write_shard(folder, bucket, rows, stage_schema(values), {"transform": f"embed-{name}"})
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two encoders' features and labels."""
    write_features(tmp_path, "voice", CLIPS)
    write_features(tmp_path, "words", CLIPS[1:])
    labels = [(clip, fold, "happy") for fold in (-1, 0) for clip in CLIPS[:5]]
    columns = dict(zip(("clip_id", "held_out_fold", "label"), map(list, zip(*labels, strict=True)), strict=True))
    write_table(tmp_path / "data/labels.parquet", pa.table(columns))
    return tmp_path


def test_importing_the_package_imports_nothing() -> None:
    """Every stage and `mer --help` import it."""
    code = (
        "import sys, mer_pipeline\n"
        "heavy = {'polars', 'pyarrow', 'numpy', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'mer_pipeline.features' not in sys.modules\n"
        "from mer_pipeline import load\n"
        "assert load is mer_pipeline.load and callable(load)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    """As in any module."""
    assert mer_pipeline.__version__
    assert not hasattr(mer_pipeline, "laod")


def test_as_a_table(project: Path) -> None:
    """All columns, all clips, by clip."""
    table = mer_pipeline.load("voice", root=project)
    assert table.columns == ["clip_id", "vector", "valid", "reason", "digest", "input_digest"]
    assert table["clip_id"].to_list() == CLIPS
    assert table.schema["vector"] == pl.Array(pl.Float32, DIM)
    silent = table.row(CLIPS.index(SILENT), named=True)
    assert (silent["vector"], silent["valid"], silent["reason"]) == (None, False, "silent")


def test_as_a_matrix(project: Path) -> None:
    """Rows in the order of the ids; absent is masked, whatever the zeros look like."""
    loaded = mer_pipeline.load("voice", matrix=True, root=str(project))
    ids, matrix, mask = loaded
    assert ids == CLIPS == loaded.ids
    assert (matrix.dtype, matrix.shape, mask.dtype) == (np.float32, (len(CLIPS), DIM), np.bool_)
    assert mask.tolist() == [clip != SILENT for clip in CLIPS]
    for clip, row in zip(ids, matrix, strict=True):
        np.testing.assert_array_equal(row, 0 if clip == SILENT else vector("voice", clip))
    matrix += 1  # a person's own copy


@pytest.mark.parametrize("clips", [[], [SILENT]])
def test_nothing_to_see(tmp_path: Path, clips: list[str]) -> None:
    """No clips, or none with the modality."""
    write_features(tmp_path, "voice", clips)
    loaded = mer_pipeline.load("voice", matrix=True, root=tmp_path)
    assert (loaded.matrix.shape, loaded.mask.any()) == ((len(clips), DIM), False)
    assert len(mer_pipeline.load("voice", root=tmp_path)) == len(clips)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("voise", r"no features 'voise' in .* \(did you mean 'voice'\?\); there are voice, words"),
        ("zzz", r"no features 'zzz' in .* \(known: voice, words\)"),
        ("../features/voice", "no features '../features/voice'"),
        ("", "no features ''"),
    ],
)
def test_a_name_that_is_not_there(project: Path, name: str, says: str) -> None:
    """One sentence that says what is there; no name leads out of the folder."""
    with pytest.raises(UsageError, match=says):
        mer_pipeline.load(name, root=project)


def test_another_folder(tmp_path: Path) -> None:
    """Where nothing has been made, that is said."""
    with pytest.raises(UsageError, match=r"no features in .*dvc repro"):
        mer_pipeline.load("voice", root=tmp_path)


def test_torn_and_foreign_shards(project: Path) -> None:
    """Named, with the remedy."""
    shard = project / "data/features/voice" / shard_name(1)
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(StageError, match="torn or foreign"):
        mer_pipeline.load("voice", root=project)
    for table, what in (
        (pa.table({"clip_id": ["a"], "valid": [True]}), "no column vector"),
        (pa.table({"clip_id": ["a"], "valid": [True], "vector": [[1.0]]}), "no fixed length"),
    ):
        write_table(project / "data/features/mine/part-00000.parquet", table)
        with pytest.raises(StageError, match=what):
            mer_pipeline.load("mine", root=project)


def write_sequences(root: Path, name: str, timed: bool = True) -> None:
    """Frame-level features of two clips, and of one that is silent."""
    values = pa.schema(
        [
            ("vector", pa.list_(pa.float32(), DIM)),
            ("sequence", pa.list_(pa.list_(pa.float32(), DIM))),
            ("times", pa.list_(pa.float64())),
        ]
    )
    steps = {"c0": np.arange(2 * DIM).reshape(2, DIM), "c1": np.ones((1, DIM)), SILENT: None}
    rows = []
    for clip, sequence in steps.items():
        done: Row | None = None
        if sequence is not None:
            times = [0.5, 1.25][: len(sequence)] if timed else None
            done = {"vector": sequence.mean(axis=0), "sequence": sequence, "times": times}
        rows.append(complete_row(clip, "made-from", done, None if done else "silent", values))
    write_shard(root / "data/features" / name, 0, rows, stage_schema(values), {"transform": f"embed-{name}"})


def test_over_time(project: Path) -> None:
    """Vectors and times of each clip that has the modality; no times where the steps have none."""
    write_sequences(project, "over_time")
    write_sequences(project, "tokens", timed=False)
    found = mer_pipeline.load_sequences("over_time", root=project)
    assert list(found) == ["c0", "c1"]
    vectors, times = found["c0"]
    assert (vectors.dtype, vectors.tolist()) == (np.float32, [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert times is not None
    assert (times.dtype, times.tolist()) == (np.float64, [0.5, 1.25])
    assert mer_pipeline.load_sequences("tokens", root=project)["c0"].times is None
    assert {"sequence", "times"} < set(mer_pipeline.load("over_time", root=project).columns)
    with pytest.raises(UsageError, match=r"voice has no vectors over time; set encoders\.voice\.frame_level to true"):
        mer_pipeline.load_sequences("voice", root=project)


def test_the_page_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of docs/features.md that read, as they stand, one after the other."""
    monkeypatch.chdir(project)
    write_sequences(project, "over_time")
    names: dict[str, object] = {}
    page, _, _ = (ROOT / "docs/features.md").read_text().partition("## Bringing")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
    both, x = names["both"], names["x"]
    assert isinstance(both, pl.DataFrame)
    assert isinstance(x, pl.Series)
    assert both["clip_id"].to_list() == ["c1", "c2", "c4"]  # c0 has no words, c3 is silent, c5 has no label
    assert x[0].to_list() == [*vector("voice", "c1"), *vector("words", "c1")]
    assert names["present"].shape == (len(CLIPS) - 1, DIM)  # type: ignore[attr-defined]


def test_the_page_names_the_columns(project: Path) -> None:
    """Its table is the table."""
    listed = re.findall(r"^\| `(\w+)`", (ROOT / "docs/features.md").read_text(), re.M)
    assert listed == mer_pipeline.load("voice", root=project).columns
