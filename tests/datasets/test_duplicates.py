from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import Row
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.duplicates import joined
from mer_pipeline.datasets.folder import FolderParams
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.datasets.ingest import IngestParams, ingest
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams

Ingest: TypeAlias = Callable[[str], list[Row]]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Ingest clips/ with a CSV of this text; the notes on copies."""
    monkeypatch.chdir(tmp_path)

    def run(csv: str) -> list[Row]:
        (tmp_path / "clips.csv").write_text(csv)
        dataset = FolderParams(adapter="folder", root="clips", csv="clips.csv")
        params = IngestParams(dataset, FoldParams(n=2), ShardParams(count=1), QualityParams(max_failed=1.0))
        ingest(params, Project(), Runtime(workers=2))
        notes = pq.read_table("data/quarantine/ingest.parquet").to_pylist()
        return [note for note in notes if note["error"] == "Copies"]

    return run


def remux(source: Path, target: Path) -> None:
    """The same packets in another container."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        streams = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                write.mux(packet)


def wav_and_flac(folder: Path, tone: float) -> None:
    """The same samples, as they are and packed."""
    wave = (9000 * np.sin(2 * np.pi * tone * np.arange(32_000) / 16_000)).astype(np.int16)
    for name, codec in (("s.wav", "pcm_s16le"), ("t.flac", "flac")):
        with av.open(str(folder / name), "w") as out:
            stream = out.add_stream(codec, rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


CSV = "name,label,group,split\na,sad,s1,\nb,happy,s2,\nc,sad,s3,\nd,happy,s4,\ne,sad,s1,\nf,happy,s2,\n"


@pytest.mark.outcome(
    "copies: clips that share a file, byte for byte, or whose decoded pictures and sound are equal",
    "done; they stay in one fold, and their groups with them; noted in "
    "`data/quarantine/ingest.parquet` where their groups, splits or labels differ",
)
def test_equal_files(go: Ingest, make_film: Callable[..., Path], tmp_path: Path) -> None:
    """They are named with what tells them apart, and stay in one fold with the other clips of both their groups."""
    for name, frames in (("a", 5), ("c", 6), ("d", 7), ("e", 8), ("f", 9)):
        make_film(f"clips/{name}.mp4", frames=frames)
    (tmp_path / "clips/b.mp4").write_bytes((tmp_path / "clips/a.mp4").read_bytes())
    (note,) = go(CSV)
    assert note["message"] == (
        "'a' and 'b' are copies of one clip, and differ in their groups (s1, s2), labels (happy, sad)"
    )
    folds = {row["clip_id"]: row["fold"] for row in pq.read_table("data/folds.parquet").to_pylist()}
    assert folds["a"] == folds["b"] == folds["e"] == folds["f"]
    assert len(set(folds.values())) == 2
    assert b"count as one group (1 fewer)" in pq.read_schema("data/folds.parquet").metadata[b"mer.note"]


@pytest.mark.outcome(
    "copies: clips that share a file, byte for byte, or whose decoded pictures and sound are equal",
    "noted in `data/quarantine/ingest.parquet` where their groups, splits or labels differ",
)
@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_the_same_clip_in_another_container(
    go: Ingest, make_film: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    """Other bytes, and the same pictures and sound."""
    source = make_film("clips/a.mp4", frames=8)
    remux(source, tmp_path / f"clips/b.{suffix}")
    (note,) = go("name,label,split\na,sad,\nb,,test\n")
    assert "splits (test, train)" in str(note["message"])


def test_the_same_sound_packed_otherwise(go: Ingest, make_film: Callable[..., Path], tmp_path: Path) -> None:
    """A WAV and its FLAC; another tone is another clip."""
    (tmp_path / "clips").mkdir()
    wav_and_flac(tmp_path / "clips", 300.0)
    make_film("clips/u.m4a.mp4", frames=0, seconds=2.0, tone=500.0)
    (note,) = go("name,label\ns,sad\nt,sad\n")
    assert str(note["message"]).startswith("'s' and 't' are copies")


def test_one_picture_with_two_sounds_is_two_clips(go: Ingest, make_film: Callable[..., Path]) -> None:
    """Nor is a film that begins like another one a copy of it."""
    make_film("clips/a.mp4", frames=5, tone=200.0)
    make_film("clips/b.mp4", frames=5, tone=300.0)
    make_film("clips/c.mp4", frames=9, tone=200.0)
    assert go("name,label\na,sad\nb,happy\nc,sad\n") == []


def test_broken_files_are_copies_of_nothing(go: Ingest, make_film: Callable[..., Path], tmp_path: Path) -> None:
    """All empty files have the same hash."""
    make_film("clips/a.mp4", frames=5)
    for name in "bc":
        (tmp_path / f"clips/{name}.mp4").write_bytes(b"")
    assert go("name,label\na,sad\nb,happy\nc,sad\n") == []


def test_copies_that_nothing_tells_apart_are_no_news(go: Ingest, make_film: Callable[..., Path]) -> None:
    """One group, one split, one label."""
    for name in "ab":
        make_film(f"clips/{name}.mp4", frames=5)
    assert go("name,label,group\na,sad,s1\nb,sad,s1\n") == []


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([["b", "a"], ["c", "b"], ["x", "y"]], [["a", "b", "c"], ["x", "y"]]),
        ([["a", "b"], ["c", "d"], ["d", "a"]], [["a", "b", "c", "d"]]),
        ([], []),
    ],
)
def test_joined(sets: Sequence[Sequence[str]], expected: list[list[str]]) -> None:
    """Copies of copies are copies."""
    assert joined(sets) == expected


@pytest.mark.outcome("all clips of one group", "folds split the group")
def test_copies_stay_together_where_one_group_is_split() -> None:
    """A single speaker's folds part clips, and no copy from its clip."""
    clips = [(f"c{at:02}", "ab"[at % 2], "s1") for at in range(40)]
    copies = [[f"c{at:02}", f"c{at + 2:02}"] for at in range(0, 40, 4)]
    for seed in range(5):
        folds = make_folds(clips, FoldParams(n=5, seed=seed), copies)
        assert all(folds.of[a] == folds.of[b] for a, b in copies)
        assert set(folds.of.values()) == set(range(5))
