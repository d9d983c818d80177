"""Facts about the layouts of the challenge, on a miniature of each as people have it on their disks."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import GIVEN_FACES, MANIFEST_SCHEMA
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.folds import FoldParams
from mer_pipeline.datasets.ingest import IngestParams, ingest, list_dataset, look_ahead
from mer_pipeline.datasets.listing import Listing
from mer_pipeline.datasets.mer import Mer2025, Mer2026, MerParams
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams
from tests.datasets.test_adapters import gen

CSVS_2025: dict[str, str | bytes] = {
    "track1_train_disdim.csv": "name,discrete,valence\nsample_1,happy,1.5\nsample_2,worried,-1\n",
    "track_all_candidates.csv": "name,discrete\nsample_3,\nsample_4,\n",
    "track1_test_dis.csv": "name,discrete\nsample_3,sad\nsample_4,NaN\n",
    "subtitle_chieng.csv": "name,chinese,english\nsample_1,没有,None\nsample_2,NaN,\n",
}
CSVS_2026: dict[str, str | bytes] = {
    "track1_train.csv": "name,discrete\nsample_1,happy\nsample_2,worried\n",
    "track1_track2_candidate.csv": "name\nsample_3\nsample_4\n",
    "track1_test.csv": "name,discrete\nsample_3,sad\n",
    "track2_train_human.csv": 'name,openset\nsample_3,"[happy, calm]"\n',
    "subtitle_chieng.csv": "name,chinese,english\nsample_1,没有,None\nsample_2,NaN,\n",
}
NAMES = [f"sample_{at}" for at in range(1, 6)]


def files(pattern: str) -> dict[str, str | bytes]:
    """An empty file for each clip."""
    return {pattern.format(name=name): b"" for name in NAMES}


def listing(root: Path, adapter: str, *trees: dict[str, str | bytes], truth: tuple[str, ...] = ()) -> Listing:
    for tree in trees:
        gen(root, tree)
    return list_dataset(MerParams(adapter=adapter, root=str(root), csv=str(root), truth=truth))


@pytest.mark.parametrize(("adapter", "csvs"), [("mer2025", CSVS_2025), ("mer2026", CSVS_2026)])
@pytest.mark.parametrize("faces", ["openface_face/{name}/{name}.npy", "openface_face/{name}.npy"])
def test_each_release(tmp_path: Path, adapter: str, csvs: dict[str, str | bytes], faces: str) -> None:
    """Labels, candidates, truth, words and the three files of every clip; faces lie in folders of their own or not."""
    kind = {"mer2025": Mer2025, "mer2026": Mer2026}[adapter]
    trees = (files("video/{name}.mp4"), files("audio/{name}.wav"), files(faces), csvs)
    found = listing(tmp_path, adapter, *trees, truth=kind.truths)
    assert kind.fits(tmp_path)
    assert found.notes == []
    assert {name: (entry.split, entry.label) for name, entry in found.entries.items()} == {
        "sample_1": ("train", "happy"),
        "sample_2": ("train", "worried"),
        "sample_3": ("test", None),
        "sample_4": ("test", None),
        "sample_5": ("pool", None),
    }
    assert found.truth == {"sample_3": "sad"}
    entry = found.entries["sample_1"]
    assert (entry.zh, entry.en) == ("没有", "None")  # a word, and no empty cell
    assert (entry.video, entry.audio) == ("video/sample_1.mp4", "audio/sample_1.wav")
    assert entry.faces == faces.format(name="sample_1")


def test_sounds_and_faces_alone(tmp_path: Path) -> None:
    """What most people download."""
    trees = (files("audio/{name}.wav"), files("openface_face/{name}/{name}.npy"), CSVS_2026)
    found = listing(tmp_path, "mer2026", *trees)
    assert Mer2026.fits(tmp_path)
    assert found.notes == []
    assert sorted(found.entries) == NAMES
    assert all(entry.video is None and entry.audio and entry.faces for entry in found.entries.values())


def test_faces_are_in_the_manifest_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their hash; other datasets' manifests are as they were."""
    monkeypatch.chdir(tmp_path)
    gen(tmp_path / "ds", CSVS_2026)
    (tmp_path / "ds/openface_face").mkdir()
    for at, name in enumerate(NAMES):
        np.save(tmp_path / f"ds/openface_face/{name}.npy", np.full((2, 112, 112, 3), at, np.uint8))
    dataset = MerParams(adapter="mer2026", root="ds", csv="ds")
    ingest(IngestParams(dataset, FoldParams(n=2), ShardParams(count=1), QualityParams()), Project(), Runtime(workers=1))
    manifest = pq.read_table("data/manifest.parquet")
    assert manifest.schema.names == [*MANIFEST_SCHEMA.names, *(column.name for column in GIVEN_FACES)]
    assert len(set(manifest["faces_sha256"].to_pylist())) == len(NAMES)
    assert look_ahead(dataset).manifest.equals(manifest)


def test_a_clip_has_one_array(tmp_path: Path) -> None:
    """Nobody could say which is right."""
    with pytest.raises(DatasetError, match="clip 'sample_1' has two arrays of faces"):
        listing(
            tmp_path,
            "mer2026",
            files("openface_face/{name}/{name}.npy"),
            {"openface_face/sample_1.npy": b""},
            CSVS_2026,
        )


@pytest.mark.parametrize(
    ("trees", "hint"),
    [
        ([files("video/mer2026/video/{name}.mp4")], r"5 files lie too deep, the first is .*: move them to .*/video/"),
        ([files("openface_face/openface_face/{name}.npy")], r"move them to .*/openface_face/"),
        ([{"video.zip": b"", "video.z01": b"", "video/.keep": b""}], "2 archives .* the first is video.z01: unpack"),
        ([{"audio/audio.7z.001": b"", "audio/audio.7z.002": b""}], "2 archives still lie there"),
        ([{"audio/sample_1.wma": b""}], "there are no files .*its file sample_1.wma is of a kind that is not read"),
    ],
)  # fmt: skip
def test_an_extraction_that_went_wrong_gets_a_hint(
    tmp_path: Path, trees: list[dict[str, str | bytes]], hint: str
) -> None:
    """Where no name of the CSVs is a file, the sentence says what to do."""
    with pytest.raises(DatasetError, match=rf"no name in its CSVs is a file: they say 'sample_1'.*{hint}"):
        listing(tmp_path, "mer2026", *trees, CSVS_2026)


def test_what_lies_there_besides_is_a_note(tmp_path: Path) -> None:
    """Some files too deep, an archive beside them: said, and nothing stops."""
    extra = {"video/video/sample_9.mp4": b"", "audio.tar.gz": b"", "video/old.wmv": b""}
    found = listing(tmp_path, "mer2026", files("video/{name}.mp4"), extra, CSVS_2026)
    messages = [note.message for note in found.notes]
    assert any(re.search(r"1 files lie too deep, .*video/video/sample_9\.mp4", text) for text in messages)
    assert any("1 archives still lie there, the first is audio.tar.gz" in text for text in messages)
    assert any(text.startswith("1 files of other kinds (1 .wmv) are not read") for text in messages)


def test_a_root_that_is_one_folder_too_high(tmp_path: Path) -> None:
    """The folder that is meant is named."""
    gen(tmp_path / "mer2026-dataset", {**CSVS_2026, **files("video/{name}.mp4")})
    with pytest.raises(DatasetError, match=r"mer2026-dataset has track1_train\.csv: set dataset\.root to it"):
        listing(tmp_path, "mer2026")
