import numpy as np
import pytest
from PIL import Image

from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.media import jpeg
from mer_pipeline.vision.appearance import PICTURE_DIM, change
from mer_pipeline.vision.gradients import CELLS, ORIENTATIONS, SIDE, gradients
from tests.conftest import clip, valid


def by_definition(rgb: np.ndarray, side: int, cells: int) -> np.ndarray:
    """Dalal & Triggs pixel by pixel: each gives its gradient's size to the two orientations next to its own."""
    grey = np.asarray(Image.fromarray(rgb).convert("L").resize((side, side), Image.Resampling.BOX), float)
    dy, dx = np.gradient(grey)
    found = np.zeros((cells, cells, ORIENTATIONS))
    for y in range(side):
        for x in range(side):
            bins = np.arctan2(dy[y, x], dx[y, x]) / np.pi * ORIENTATIONS % ORIENTATIONS
            lower, share = int(bins) % ORIENTATIONS, bins - int(bins)
            cell = found[y * cells // side, x * cells // side]
            cell[lower] += (1 - share) * np.hypot(dy[y, x], dx[y, x])
            cell[(lower + 1) % ORIENTATIONS] += share * np.hypot(dy[y, x], dx[y, x])
    found = np.sqrt(found).ravel()
    return found / np.linalg.norm(found)


@pytest.mark.parametrize(("side", "cells"), [(SIDE, CELLS), (96, 8)])
def test_gradients_are_histograms_of_oriented_gradients(side: int, cells: int) -> None:
    """Number by number, on smoothed noise that has every orientation."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((200, 150), Image.Resampling.BICUBIC))
    found = gradients(picture, side, cells)
    assert np.linalg.norm(found) == pytest.approx(1)
    np.testing.assert_allclose(found, by_definition(picture, side, cells), atol=1e-5)


def test_a_flat_picture_has_no_gradients() -> None:
    """And no division by nothing."""
    assert not gradients(np.full((20, 30, 3), 77, np.uint8)).any()


def test_change_is_the_mean_absolute_step() -> None:
    """From one picture to the next; a single picture does not move."""
    assert change(np.array([[0, 1], [2, 0]], np.float32)).tolist() == [2, 1]
    assert change(np.array([[0, 1], [2, 0], [1, 0]], np.float32)).tolist() == [1.5, 0.5]
    assert change(np.array([[5, 7]], np.float32)).tolist() == [0, 0]


def test_a_row_is_gradients_and_colours_and_their_change() -> None:
    """White, then red: the mean of each colour is a share of full light, and what moves is green and blue."""
    made = make_encoder("x", ENCODER.parse({"family": "appearance", "input": "frames"}))
    pictures = [np.full((30, 40, 3), colour, np.uint8) for colour in ((255, 255, 255), (254, 0, 0))]
    frames = valid(jpegs=[jpeg.encode(picture, 95) for picture in pictures], times=[0.0, 0.5])
    vector = made.prepare(clip(frames=frames))["vector"]
    assert len(vector) == 2 * (PICTURE_DIM + 3)
    parts = np.split(vector, [PICTURE_DIM, PICTURE_DIM + 3, 2 * PICTURE_DIM + 3])
    assert not parts[0].any()
    np.testing.assert_allclose(parts[1], [(1 + 254 / 255) / 2, 0.5, 0.5], atol=1e-6)
    assert not parts[2].any()
    np.testing.assert_allclose(parts[3], [1 / 255, 1, 1], atol=1e-6)
