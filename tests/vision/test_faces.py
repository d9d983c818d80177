"""Facts about face crops, on a real photograph through the real detector."""

from collections.abc import Iterator

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from mer_pipeline.base.errors import Skip
from mer_pipeline.media import jpeg
from mer_pipeline.vision.detector import MtcnnParams
from mer_pipeline.vision.faces import LAYOUT, CropFaces, Faces, align, similarity
from tests.conftest import clip, valid


@pytest.fixture(scope="module")
def crop() -> Iterator[CropFaces]:
    """The stage with its real detector."""
    transform = CropFaces(MtcnnParams(margin=0.1))
    transform.setup(torch.device("cpu"))
    return transform


def scene(faces: list[tuple[int, int, int]], size: tuple[int, int] = (360, 640)) -> np.ndarray:
    """A grey picture with the astronaut pasted at (left, top, side)."""
    picture = np.full((*size, 3), 90, np.uint8)
    face = Image.fromarray(skimage.data.astronaut()[:300, 100:400])
    for left, top, side in faces:
        picture[top : top + side, left : left + side] = np.asarray(face.resize((side, side)))
    return picture


def run(crop: CropFaces, scenes: list[np.ndarray]) -> object:
    frames = valid(jpegs=[jpeg.encode(s, 92) for s in scenes], times=[0.5 * at for at in range(len(scenes))])
    return crop.infer([crop.prepare(clip(frames=frames))])[0]


def test_a_photographed_face_is_found_and_aligned(crop: CropFaces) -> None:
    """One crop a frame, of the asked size, the eyes level and where the layout has them."""
    row = run(crop, [scene([(40, 40, 240)]), scene([(60, 50, 240)])])
    assert isinstance(row, dict)
    faces = Faces.of(row)
    assert (len(faces.crops), faces.coverage) == (2, 1.0)
    again = crop.detector.detect(np.stack([jpeg.decode(data) for data in faces.crops]))
    for found in again:
        points = found.landmarks[0] / 160
        target = (LAYOUT + 0.1) / 1.2
        assert np.abs(points - target).max() < 0.06


def test_the_size_of_the_pictures_may_change(crop: CropFaces) -> None:
    """As in a recorded call: the face is found in both sizes, and what each picture shows is what it shows alone."""
    large, small = scene([(40, 40, 240)]), scene([(40, 40, 120)], (240, 320))
    row = run(crop, [large, small])
    assert isinstance(row, dict)
    found = {candidate["frame"]: candidate["box"] for candidate in row["candidates"] if candidate["score"] > 0.9}
    for at, alone in enumerate((large, small)):
        only = run(crop, [alone])
        assert isinstance(only, dict)
        assert found[at] == pytest.approx(only["boxes"][0].tolist())


def test_the_box_is_in_pixels_of_the_frame(crop: CropFaces) -> None:
    """Detection works on a smaller copy; what is stored refers to the frame."""
    small = CropFaces(MtcnnParams(detect_side=320, min_face=20))
    small.setup(torch.device("cpu"))
    row = run(small, [scene([(340, 60, 240)])])
    assert isinstance(row, dict)
    left, top, right, bottom = row["boxes"][0]
    assert 340 < left < right < 580
    assert 60 < top < bottom < 300


def test_of_two_faces_the_larger_is_primary_and_both_are_kept(crop: CropFaces) -> None:
    """All candidates' boxes are in the row."""
    row = run(crop, [scene([(20, 20, 150), (300, 40, 280)])] * 2)
    assert isinstance(row, dict)
    assert all(box[0] > 300 for box in row["boxes"])
    assert len(row["candidates"]) == 4


def test_a_frame_without_the_face_lowers_the_coverage(crop: CropFaces) -> None:
    """The face leaves: its frames say which."""
    row = run(crop, [scene([(40, 40, 240)]), scene([]), scene([]), scene([(40, 40, 240)])])
    assert isinstance(row, dict)
    assert row["frame_index"] == [0, 3]
    assert row["coverage"] == 0.5


def test_no_face_is_a_skip(crop: CropFaces) -> None:
    """A scene without people is a valid clip without a face."""
    row = run(crop, [scene([])] * 2)
    assert isinstance(row, Skip)
    assert str(row) == "no face found"


def test_a_tiny_picture_has_no_face(crop: CropFaces) -> None:
    """Below the detector's window it is not even asked, be it low or narrow."""
    for size in ((8, 8), (8, 400), (400, 8)):
        assert isinstance(run(crop, [np.zeros((*size, 3), np.uint8)]), Skip)


def test_a_clip_does_not_depend_on_its_companions(crop: CropFaces) -> None:
    """The detector sees one clip per call, so batches cannot move a box."""
    items = [
        crop.prepare(clip(frames=valid(jpegs=[jpeg.encode(scene(f), 92)] * n, times=[0.0] * n)))
        for f, n in (([(40, 40, 240)], 2), ([], 3), ([(20, 20, 150), (300, 40, 280)], 1))
    ]
    together = crop.infer(items)
    for item, row in zip(items, together, strict=True):
        alone = crop.infer([item])[0]
        if isinstance(row, Skip):
            assert isinstance(alone, Skip)
        else:
            assert isinstance(alone, dict)
            assert alone["crops"] == row["crops"]
            assert np.array_equal(alone["boxes"], row["boxes"])


def test_similarity_recovers_rotation_scale_and_shift() -> None:
    """The least-squares answer is exact where an exact one exists."""
    angle, scale, shift = 0.3, 1.7, np.array([4.0, -2.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(LAYOUT, LAYOUT @ turn.T + shift)
    assert matrix == pytest.approx(np.column_stack([turn, shift]))


def test_alignment_turns_a_tilted_head_upright() -> None:
    """The pixel under each landmark comes to lie at the layout's place."""
    angle = np.deg2rad(25)
    turn = 150 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (LAYOUT @ turn.T + np.array([150.0, 60.0])).astype(np.float32)
    picture = np.zeros((300, 300, 3), np.uint8)
    for x, y in points.round().astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    aligned = align(picture, points, 160, 0.1)
    for x, y in ((LAYOUT + 0.1) / 1.2 * 160).round().astype(int):
        assert aligned[y - 1 : y + 2, x - 1 : x + 2].mean() > 120


@pytest.mark.parametrize("degrees", [0, 45, 90])
def test_a_face_larger_than_its_crop_is_averaged(degrees: int) -> None:
    """Stripes of one pixel on a face four times the crop's size become grey, whatever way the head is turned."""
    angle = np.deg2rad(degrees)
    turn = 640 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((LAYOUT - 0.5) @ turn.T + 500).astype(np.float32)
    stripes = np.tile(np.array([[[0] * 3, [255] * 3]], np.uint8), (1000, 500, 1))
    assert align(stripes, points, 160, 0.0)[60:100, 60:100].std() < 10


def test_what_lies_beyond_the_picture_is_black() -> None:
    """A face at the edge is not stretched."""
    points = (LAYOUT * 160 - [80, 0]).astype(np.float32)
    aligned = align(np.full((160, 160, 3), 255, np.uint8), points, 160, 0.0)
    assert not aligned[:, :75].any()
    assert (aligned[5:-5, 85:] == 255).all()
