import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import MANIFEST_SCHEMA, Clip, Row
from mer_pipeline.base.errors import TooManyFailed
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.cli.quarantine import list_text, problems
from mer_pipeline.config.project import Project
from mer_pipeline.datasets import probe
from mer_pipeline.datasets.folder import FolderParams
from mer_pipeline.datasets.folds import FoldParams
from mer_pipeline.datasets.ingest import IngestParams, ingest, look_ahead
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams
from tests.conftest import rows_of


@pytest.fixture
def go(tmp_path: Path, make_film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Four films, one of them broken, ingested inside the test's folder."""
    for at in range(3):
        make_film(f"clips/c{at}.mp4", frames=5, size=(64 + 16 * at, 48), tone=None if at == 2 else 200.0)
    (tmp_path / "clips/broken.mp4").write_bytes(b"")
    (tmp_path / "clips.csv").write_text("name,label,group,transcript\nc0,sad,s1,hello\nc1,happy,s2,\nc2,sad,s2,\n")
    monkeypatch.chdir(tmp_path)

    def run(max_failed: float = 0.5) -> str:
        dataset = FolderParams(adapter="folder", root="clips", csv="clips.csv")
        quality = QualityParams(max_failed=max_failed)
        params = IngestParams(dataset, FoldParams(n=2), ShardParams(count=2), quality)
        return ingest(params, Project(), Runtime(workers=2))

    return run


def test_tables(go: Callable[..., str]) -> None:
    """Every clip has a manifest row and a row of subtitles; the broken one is in the quarantine as well."""
    assert go() == "ingest: 4 clips (3 train, 0 test, 1 pool); 1 broken; 0 notes (`mer quarantine list ingest`)"
    table = pq.read_table("data/manifest.parquet")
    assert table.schema.equals(MANIFEST_SCHEMA)
    rows = {row["clip_id"]: row for row in table.to_pylist()}
    assert (rows["c0"]["width"], rows["c0"]["has_sound"], rows["c2"]["has_sound"]) == (64, True, False)
    assert (rows["broken"]["width"], len(rows["broken"]["video_sha256"])) == (None, 64)
    words = {row["clip_id"]: (row["en"], row["valid"], row["reason"]) for row in rows_of(Path("data/subtitles"))}
    assert words["c0"] == ("hello", True, None)
    assert words["c1"] == (None, False, "no subtitle")
    problem = pq.read_table("data/quarantine/ingest.parquet").to_pylist()[0]
    assert (problem["clip_id"], problem["error"]) == ("broken", "BadInput")
    assert len(pq.read_table("data/folds.parquet")) == 3
    assert json.loads(Path("metrics/ingest.json").read_text())["folds"] == 2


def test_twice_is_the_same_bytes(go: Callable[..., str]) -> None:
    """Ingest has no memory and no clock."""
    go()
    before = {path: path.read_bytes() for path in Path("data").rglob("*.parquet")}
    go()
    assert {path: path.read_bytes() for path in Path("data").rglob("*.parquet")} == before


def test_clips_without_a_file_are_said_apart(go: Callable[..., str]) -> None:
    """They are among the clips, and the line says how many of them have no file; the quarantine says what to do."""
    with Path("clips.csv").open("a") as csv:
        csv.write("ghost,sad,s3,\n")
    assert go().startswith("ingest: 5 clips (4 train, 0 test, 1 pool), 1 of them without a file; 1 broken; 1 notes (")
    said = list_text(problems("ingest"))
    assert said.endswith("2 in all; mend what ingest names in the files or the CSVs, then run `dvc repro`")
    assert "retry" not in said, "no row of ingest is kept that could be tried again"


def test_too_many_broken_files_stop_it(go: Callable[..., str]) -> None:
    """Half a copied dataset is noticed at the first stage."""
    with pytest.raises(TooManyFailed, match=r"1 of 4 clips failed.*'broken'"):
        go(max_failed=0.0)


def test_an_unchanged_file_is_not_read_again(
    go: Callable[..., str], make_film: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One altered file among many costs the reading of one; the plan knows which before anything is read."""
    read: list[str] = []

    class Watched(LocalEngine[Row]):
        def outcomes(self, clips: Iterable[Clip]) -> Iterator[Sequence[Outcome]]:
            return super().outcomes(read.append(clip.clip_id) or clip for clip in clips)  # type: ignore[func-returns-value]

    monkeypatch.setattr(probe, "LocalEngine", Watched)
    go()
    assert len(read) == 4
    read.clear()
    go()
    assert read == []
    make_film("clips/c1.mp4", frames=7)
    ahead = look_ahead(FolderParams(adapter="folder", root="clips", csv="clips.csv"))
    assert ahead.unread == {"c1"}
    go()
    assert read == ["c1"]


def test_what_lies_ahead_is_what_ingest_writes(go: Callable[..., str]) -> None:
    """The manifest and the subtitles, without opening a file."""
    go()
    ahead = look_ahead(FolderParams(adapter="folder", root="clips", csv="clips.csv"))
    assert ahead.manifest.equals(pq.read_table("data/manifest.parquet"))
    assert ahead.subtitles == {row["clip_id"]: row for row in rows_of(Path("data/subtitles"))}
