"""Rows that are found to be wrong are taken out of the store and computed again."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.cli.store import forget
from mer_pipeline.cli.verify import verify
from mer_pipeline.config.steps import find_step
from mer_pipeline.speech.track import ExtractAudio
from mer_pipeline.store.row_cache import row_cache_of
from mer_pipeline.tables.rows import complete_row
from mer_pipeline.tables.shards import read_folder

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = """
dataset: {adapter: folder, root: clips, csv: clips}
folds: {n: 2}
encoders:
  voice: {family: logmel, input: audio}
shards: {count: 1}
"""
CLIPS = ["s01_0001", "s01_0002", "s01_0003"]


def run(stage: str) -> None:
    """A stage's script, in the current folder."""
    sys.argv = [str(ROOT / f"stages/{stage}.py")]
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert not stop.value.code


def loudness() -> dict[str, float]:
    table = read_folder(Path("data/audio"))
    return dict(zip(table["clip_id"].to_pylist(), table["rms_dbfs"].to_pylist(), strict=True))


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A project whose rows of sound are all too loud, in the store and in data/; what they should be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    Path("clips").mkdir()
    for name in CLIPS:
        shutil.copy(ROOT / f"data/demo/video/{name}.mp4", "clips")
    Path("params.yaml").write_text(PARAMS)
    Path(".mer.toml").write_text("device = 'cpu'\nworkers = 1\n")
    run("ingest")
    run("audio")
    right = loudness()
    forget("audio", [])
    cache = row_cache_of(find_step("audio").make(), load_runtime())
    for row in read_folder(Path("data/audio")).to_pylist():
        row["rms_dbfs"] += 1
        whole = complete_row(row["clip_id"], row["input_digest"], row, None, ExtractAudio.schema)
        cache.add([Outcome(row["clip_id"], row["input_digest"], whole)])
    cache.flush()
    run("audio")
    assert loudness() == {clip: pytest.approx(value + 1) for clip, value in right.items()}
    return right


def test_wrong_rows_are_computed_again(wrong: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    """Verify finds them and names the command; of one clip, then of all."""
    capsys.readouterr()
    assert verify(["audio"], 3, 0, 0.0) == 1
    assert "`mer store forget audio` has its rows computed again" in capsys.readouterr().out
    assert forget("audio", [CLIPS[1]]).startswith("audio: 1 rows forgotten; `dvc repro --force --single-item audio`")
    run("audio")
    assert [clip for clip, value in loudness().items() if value == wrong[clip]] == [CLIPS[1]]
    assert verify(["audio"], 3, 0, 0.0) == 1
    assert "audio: 3 rows" in forget("audio", [])
    run("audio")
    assert loudness() == wrong
    assert verify(["audio"], 3, 0, 0.0) == 0
    assert "forget" not in capsys.readouterr().out.splitlines()[-1]


def test_other_steps_and_clips_are_left_alone(wrong: dict[str, float]) -> None:
    """What is not known is an error that says so, and takes nothing out."""
    before = {path: path.read_bytes() for path in Path(".mer/store").rglob("*") if path.is_file()}
    for stage, clips, message in (
        ("audi", [], "no stage 'audi' keeps rows"),
        ("audio", ["s01_0001x"], "did you mean 's01_0001'"),
    ):
        with pytest.raises(UsageError, match=message):
            forget(stage, clips)
    assert {path: path.read_bytes() for path in Path(".mer/store").rglob("*") if path.is_file()} == before


def test_replies_are_not_forgotten_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost money."""
    monkeypatch.chdir(tmp_path)
    text = PARAMS.replace("shards:", "enrich: {backend: openai, model: m}\nshards:")
    Path("params.yaml").write_text(text)
    with pytest.raises(UsageError, match="--external-responses"):
        forget("replies", [])


def test_a_pack_of_rows_is_one_of_the_step(wrong: dict[str, float]) -> None:
    """What is left of a pack has the form of any other."""
    forget("audio", [CLIPS[0]])
    (pack,) = Path(".mer/store/packs/audio").rglob("*.parquet")
    table = pq.read_table(pack)
    assert table["clip_id"].to_pylist() == CLIPS[1:]
    assert (table.schema.metadata or {})[b"mer.fingerprint"].decode() == pack.parent.name
