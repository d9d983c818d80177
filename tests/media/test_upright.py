from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.errors import BadInput
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.media.probe import probe
from tests.media.make import colours_of, write


def shown(path: Path) -> np.ndarray:
    """The first picture of a film."""
    return next(iter(read_pictures(path, lambda times, end: np.array([0])))).rgb


def film(folder: Path, matrix: Sequence[float] | None = None, aspect: Fraction | None = None) -> Path:
    """A film with a display matrix, given by the four numbers that turn it."""
    nine = None
    if matrix is not None:
        a, b, c, d = (round(65536 * part) for part in matrix)
        nine = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    return write(folder / "a.mp4", "libx264", None, frames=2, matrix=nine, aspect=aspect)


# Where x and y of the screen point to is (a, b) for a column of the coded picture and (c, d) for a row.
ORIENTATIONS = [
    ((1, 0, 0, 1), "RGBY"),
    ((-1, 0, 0, 1), "GRYB"),  # mirrored left-right
    ((1, 0, 0, -1), "BYRG"),  # mirrored top-bottom
    ((-1, 0, 0, -1), "YBGR"),  # turned by 180 degrees
    ((0, 1, -1, 0), "BRYG"),  # turned by 90 degrees clockwise
    ((0, -1, 1, 0), "GYRB"),  # and counterclockwise
    ((0, 1, 1, 0), "RBGY"),  # mirrored along one diagonal
    ((0, -1, -1, 0), "YGBR"),  # and along the other
]


@pytest.mark.parametrize(("matrix", "colours"), ORIENTATIONS)
def test_all_eight_orientations_are_shown_as_the_matrix_says(
    tmp_path: Path, matrix: tuple[int, ...], colours: str
) -> None:
    """The corners are where a player shows them, and `probe` gives the size of that picture."""
    path = film(tmp_path, matrix)
    picture = shown(path)
    assert colours_of(picture) == colours
    size = (160, 120) if matrix[0] else (120, 160)
    assert picture.shape[1::-1] == size
    assert (probe(path).width, probe(path).height) == size


def test_a_crooked_matrix_is_the_nearest_orientation(tmp_path: Path) -> None:
    """A mirror that is turned by 20 degrees is the mirror."""
    c, s = np.cos(np.pi / 9), np.sin(np.pi / 9)
    assert colours_of(shown(film(tmp_path, (-c, s, s, c)))) == "GRYB"


def test_a_matrix_that_shows_nothing_is_none(tmp_path: Path) -> None:
    """A singular matrix is broken; the picture stays as it is coded."""
    assert colours_of(shown(film(tmp_path, (0, 0, 0, -1)))) == "RGBY"


@pytest.mark.parametrize(
    ("aspect", "matrix", "size"),
    [
        (Fraction(16, 11), None, (233, 120)),
        (Fraction(1, 2), None, (160, 240)),
        (Fraction(1), None, (160, 120)),
        (Fraction(2), (0, 1, -1, 0), (120, 320)),  # the coded picture is stretched and then turned
        (Fraction(2), (-1, 0, 0, 1), (320, 120)),
    ],
)
def test_pixels_that_are_not_square_are_stretched(
    tmp_path: Path, aspect: Fraction, matrix: tuple[int, ...] | None, size: tuple[int, int]
) -> None:
    """The picture has the shape that a player shows, and loses no row or column."""
    path = film(tmp_path, matrix, aspect)
    assert shown(path).shape[1::-1] == size
    assert (probe(path).width, probe(path).height) == size


@pytest.mark.outcome("width of a pixel", "¼ to 4 times its height")
def test_pixels_of_an_impossible_shape_are_bad_input(tmp_path: Path) -> None:
    """A broken aspect ratio must not make a picture of a thousand times the size."""
    with pytest.raises(BadInput, match="said to be 100 times as wide as high"):
        shown(film(tmp_path, aspect=Fraction(100)))
