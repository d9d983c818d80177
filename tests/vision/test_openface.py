"""Facts about faces that the dataset brings."""

from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.clips import MANIFEST_SCHEMA, Row
from mer_pipeline.base.errors import BadInput, ParamsError, Skip, StageError
from mer_pipeline.config.params import parse_params
from mer_pipeline.enrich.cues import MeasureCues
from mer_pipeline.media import jpeg
from mer_pipeline.media.container import file_sha256
from mer_pipeline.store.inputs import Inputs
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table
from mer_pipeline.tables.shards import write_table
from mer_pipeline.vision.appearance import Appearance, AppearanceParams
from mer_pipeline.vision.faces import ChooseFace
from mer_pipeline.vision.geometry import FaceGeometry, FaceGeometryParams
from mer_pipeline.vision.openface import OpenFace, OpenFaceParams
from mer_pipeline.vision.tracks import FollowFaces
from tests.conftest import clip, valid

DEFAULT = OpenFaceParams()


def blue(count: int) -> np.ndarray:
    """Pictures of a blue face as the release stores them, blue first."""
    faces = np.zeros((count, 112, 112, 3), np.uint8)
    faces[..., 0] = 200
    faces[..., 2] = 20
    return faces


def row_of(folder: Path, array: np.ndarray, params: OpenFaceParams = DEFAULT, **manifest: object) -> Row:
    np.save(folder / "a.npy", array)
    return read(folder, params, **manifest)


def read(folder: Path, params: OpenFaceParams = DEFAULT, **manifest: object) -> Row:
    listed = {"faces": "a.npy", "faces_sha256": file_sha256(folder / "a.npy"), "fps": None, "frame_rate": None}
    people = OpenFace(params, folder).prepare(clip(manifest={**listed, **manifest}))
    row = ChooseFace(params.choice()).prepare(clip(tracks=valid(**people), audio=None))
    assert isinstance(row, dict)
    return row


def test_a_blue_face_stays_blue(tmp_path: Path) -> None:
    """The release has blue first; read as RGB the face would be red."""
    picture = jpeg.decode(row_of(tmp_path, blue(4))["crops"][0])  # type: ignore[index]
    assert picture.shape == (112, 112, 3)
    assert np.allclose(picture.mean(axis=(0, 1)), (20, 0, 200), atol=4)


def test_which_pictures_and_when(tmp_path: Path) -> None:
    """At the centres of equal spans; the CSV's rate comes before the film's, and that before the default."""
    row = row_of(tmp_path, blue(50), OpenFaceParams(n=5))
    assert row["frame_index"] == [5, 15, 25, 35, 45]
    assert row["times"] == [0.2, 0.6, 1.0, 1.4, 1.8]
    assert read(tmp_path, OpenFaceParams(n=5), frame_rate=50.0)["times"] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert read(tmp_path, OpenFaceParams(n=5), frame_rate=50.0, fps=10.0)["times"] == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert row_of(tmp_path, blue(2))["frame_index"] == [0, 1]


def test_a_black_picture_shows_no_face(tmp_path: Path) -> None:
    """It lowers the coverage; black pictures alone are a skip, and so is an array of none."""
    faces = blue(8)
    faces[:6] = 0
    row = row_of(tmp_path, faces)
    assert (row["frame_index"], row["coverage"]) == ([6, 7], 0.25)
    for array in (np.zeros_like(faces), faces[:0]):
        with pytest.raises(Skip, match="no face found"):
            row_of(tmp_path, array)
    with pytest.raises(Skip, match="the dataset brings none of this clip"):
        read(tmp_path, faces=None)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (blue(3).astype(np.float32), r"an array \(3, 112, 112, 3\) of float32; pictures are"),
        (blue(3)[0], r"an array \(112, 112, 3\) of uint8"),
        (np.asfortranarray(blue(3)), "pictures are"),
        (np.zeros((2, 3, 112, 112), np.uint8), "pictures are"),
    ],
)
def test_another_array_is_broken(tmp_path: Path, array: np.ndarray, says: str) -> None:
    """It is not taken for faces."""
    with pytest.raises(BadInput, match=says):
        row_of(tmp_path, array)


def test_a_torn_array_is_broken(tmp_path: Path) -> None:
    """Half a clip is not a clip."""
    np.save(tmp_path / "a.npy", blue(9))
    whole = (tmp_path / "a.npy").read_bytes()
    for data, says in (
        (whole[: len(whole) // 2], "the file is torn"),
        (b"", "no readable"),
        (b"MER" * 99, "no readable"),
    ):
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(BadInput, match=says):
            read(tmp_path)


def test_the_table_is_that_of_a_detector(tmp_path: Path) -> None:
    """One schema, whoever cut the faces out."""
    row = row_of(tmp_path, blue(9))
    assert OpenFace.schema == FollowFaces.schema
    manifest = {"faces": "a.npy", "faces_sha256": file_sha256(tmp_path / "a.npy"), "fps": None, "frame_rate": None}
    people = OpenFace(DEFAULT, tmp_path).prepare(clip(manifest=manifest))
    table = to_table([complete_row("a", "", people, None, OpenFace.schema)], stage_schema(OpenFace.schema))
    assert len(table["people"][0].as_py()[0]["boxes"]) == 8
    table = to_table([complete_row("a", "", row, None, ChooseFace.schema)], stage_schema(ChooseFace.schema))
    assert np.isnan(table["landmarks"][0].as_py()).all()


def test_what_is_not_known_is_not_measured(tmp_path: Path) -> None:
    """Without landmarks there is neither geometry nor a cue of mouth, brows or head; pictures are embedded."""
    row = valid(**row_of(tmp_path, blue(9)))
    with pytest.raises(Skip, match="without landmarks"):
        FaceGeometry("face", FaceGeometryParams(family="face-geometry", input="faces")).prepare(clip(faces=row))
    cues = MeasureCues().prepare(clip(faces=row, audio=None, transcript=None))
    assert {name for name, value in cues.items() if value is not None} == {"coverage", "face_unsure"}
    vector = Appearance("x", AppearanceParams(family="appearance", input="faces")).prepare(clip(faces=row))["vector"]
    assert np.isfinite(np.asarray(vector)).all()


def test_options_of_a_detector_are_refused() -> None:
    """They would do nothing."""
    raw = {"dataset": {"root": "x", "csv": "x"}, "encoders": {"a": {"family": "logmel", "input": "audio"}}}
    faces = parse_params({**raw, "faces": {"detector": "openface", "n": 4, "jpeg_quality": 90}}).faces
    assert isinstance(faces, OpenFaceParams)
    with pytest.raises(ParamsError, match="detector 'openface' reads no margin"):
        parse_params({**raw, "faces": {"detector": "openface", "margin": 0.2}})


def test_a_dataset_without_faces_is_one_sentence(tmp_path: Path) -> None:
    """Its manifest has no such columns."""
    manifest = dict.fromkeys(MANIFEST_SCHEMA.names) | {
        "clip_id": "a",
        "group": "a",
        "split": "pool",
        "has_sound": False,
    }
    write_table(tmp_path / "manifest.parquet", to_table([manifest], MANIFEST_SCHEMA))
    inputs = Inputs(OpenFace.sources, {"manifest": tmp_path / "manifest.parquet"}, 1)
    with pytest.raises(StageError, match="has no column faces_sha256, faces: the dataset does not bring"):
        inputs.keys(0)
