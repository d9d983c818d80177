import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.media import jpeg
from mer_pipeline.vision.align import LAYOUT, similarity
from mer_pipeline.vision.appearance import change
from mer_pipeline.vision.faces import Faces
from mer_pipeline.vision.geometry import BROW_ROWS, CELLS, CROP_SIDE, DIM, SHAPE_DIM, brow_height, head_motion, shape
from mer_pipeline.vision.gradients import ORIENTATIONS, gradients
from tests.conftest import clip, face_row, pictures

# Left eye, right eye, nose, mouth left, mouth right.
FACE = np.array([[30, 40], [60, 40], [48, 60], [33, 75], [58, 75]], np.float32)


def test_similarity_is_scikit_images() -> None:
    """Umeyama's least squares, where no exact answer exists."""
    source = FACE.astype(float)
    target = source * 1.7 + np.random.default_rng(0).normal(0, 4, FACE.shape)
    expected = SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(similarity(source, target), expected.params[:2], atol=1e-9)


def test_the_layout_is_that_of_crops_for_face_recognition() -> None:
    """ArcFace's five points of a crop of 112 pixels."""
    points = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    np.testing.assert_allclose(np.array(points) / 112, LAYOUT, atol=1e-4)


def test_a_shape_is_aligned_landmarks_and_ratios() -> None:
    """Against scikit-image's alignment; the eyes are 30 pixels apart, and the nose is 3 to the right of the middle."""
    found = shape(FACE)
    aligned = SimilarityTransform.from_estimate(FACE, LAYOUT)(FACE)
    np.testing.assert_allclose(found[:10], (aligned - LAYOUT).ravel(), atol=1e-6)
    mouth_width, eyes_to_mouth, nose_to_mouth, turn = 25, np.hypot(0.5, 35), np.hypot(2.5, 15), 3
    np.testing.assert_allclose(found[10:] * 30, [mouth_width, eyes_to_mouth, nose_to_mouth, turn], atol=1e-4)


def test_a_shape_does_not_know_place_size_and_roll() -> None:
    """A turned, larger face elsewhere has the same."""
    turn = SimilarityTransform(scale=2.5, rotation=0.7, translation=(40, -12))
    np.testing.assert_allclose(shape(turn(FACE).astype(np.float32)), shape(FACE), atol=1e-5)


def faces(boxes: list[list[float]], rolls: list[float]) -> Faces:
    """Faces with eyes that stand at these angles."""
    points = [SimilarityTransform(rotation=roll)(FACE) for roll in rolls]
    crops = pictures(1, size=(64, 64)) * len(boxes)
    times = [0.1 * at for at in range(len(boxes))]
    return Faces(crops, times, np.array(boxes, np.float32), np.array(points, np.float32), 0.75)


def test_head_motion_by_hand() -> None:
    """Sides 10, 10 and 20: moves count in units of 10, growth as a logarithm; roll .3, then .2."""
    found = head_motion(faces([[0, 0, 10, 10], [4, 2, 14, 12], [4, 2, 24, 22]], [0.0, 0.3, 0.2]))
    across, down, growth, roll = (0.4 + 0.5) / 2, (0.2 + 0.5) / 2, np.log(2) / 2, (0.3 + 0.1) / 2
    np.testing.assert_allclose(found, [across, down, growth, roll, np.std([0, 0.3, 0.2]), 0.75], atol=1e-5)


def test_a_row_is_shapes_looks_and_how_they_move() -> None:
    """Means, then ranges and changes, in their order."""
    row = face_row(4, seed=3)
    found = Faces.of(row)
    shapes = np.stack([shape(points) for points in found.landmarks])
    looks = np.stack([gradients(jpeg.decode(crop), CROP_SIDE, CELLS) for crop in found.crops])
    parts = [shapes.mean(axis=0), looks.mean(axis=0), np.ptp(shapes, axis=0), change(shapes), head_motion(found)]
    expected = np.concatenate([*parts, change(looks)])
    vector = make_encoder("x", ENCODER.parse({"family": "face-geometry", "input": "faces"})).prepare(clip(faces=row))[
        "vector"
    ]
    assert (SHAPE_DIM, len(expected)) == (14, DIM)
    assert DIM == 3 * 14 + 6 + 2 * 8 * 8 * ORIENTATIONS
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def skin(rows: tuple[int, ...], columns: tuple[float, float], side: int = 160) -> np.ndarray:
    """A bright crop with a dark line over some columns, in fractions of the side."""
    crop = np.full((side, side, 3), 180, np.uint8)
    crop[list(rows), round(columns[0] * side) : round(columns[1] * side)] = 90
    return crop


@pytest.mark.parametrize("rows", [(62,), (62, 63), (64, 65, 66)])
def test_a_brow_is_measured_between_rows(rows: tuple[int, ...]) -> None:
    """From the middle of the line to the lower edge of what is searched, in sides of the crop."""
    height = brow_height(skin(rows, (0.36, 0.46)))
    assert height is not None
    assert height * 160 == pytest.approx(BROW_ROWS[1] * 160 - (np.mean(rows) + 0.5), abs=0.05)


@pytest.mark.parametrize(
    ("columns", "seen"),
    [((0.36, 0.4), True), ((0.55, 0.59), True), ((0.47, 0.53), False), ((0.2, 0.35), False), ((0.65, 0.8), False)],
)
def test_brows_are_sought_at_their_inner_ends(columns: tuple[float, float], seen: bool) -> None:
    """Neither on the nose nor at the temples."""
    assert (brow_height(skin((62, 63), columns)) is not None) == seen
