"""Facts about cuts, and about the camera's motion."""

import numpy as np
import pytest

from mer_pipeline.vision.shots import camera_shift, find_cuts, small_grey, thumb

RNG = np.random.default_rng(0)


def room(seed: int, width: int = 900) -> np.ndarray:
    """A wall with large patches of colour: (180, width, 3)."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (6, width // 30, 3)), np.ones((30, 30, 1))).astype(np.uint8)


def thumbs(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The small copies of pictures."""
    return [thumb(picture) for picture in pictures]


def test_a_cut_between_two_rooms_is_found() -> None:
    """At the first picture of the second room, each time."""
    one, other = room(1)[:, :320], room(2)[:, :320]
    assert find_cuts(thumbs([one] * 9 + [other] * 4 + [one] * 5)) == [9, 13]


def test_noise_makes_no_cut() -> None:
    """Grain of a dark scene."""
    pictures = [
        np.clip(room(1)[:, :320] + RNG.normal(0, 12, (180, 320, 3)), 0, 255).astype(np.uint8) for _ in range(20)
    ]
    assert find_cuts(thumbs(pictures)) == []


@pytest.mark.parametrize("speed", [2, 6, 12])
def test_a_pan_is_no_cut(speed: int) -> None:
    """The camera moves by a fourth of the picture a second, by three fourths, or as in a whip pan."""
    wide = room(1, 1800)
    assert find_cuts(thumbs([wide[:, speed * at : speed * at + 320] for at in range(40)])) == []


def test_a_cut_within_a_pan_is_found() -> None:
    """The other room is passed at the same speed."""
    one, other = room(1), room(2)
    pictures = [(one if at < 20 else other)[:, 6 * at : 6 * at + 320] for at in range(40)]
    assert find_cuts(thumbs(pictures)) == [20]


def test_a_flash_is_no_cut() -> None:
    """One bright picture, and the same scene again."""
    scene = room(1)[:, :320]
    assert find_cuts(thumbs([scene] * 6 + [np.full_like(scene, 255)] + [scene] * 6)) == []


def test_few_pictures_have_no_cut() -> None:
    """One picture, or none."""
    assert find_cuts([]) == []
    assert find_cuts(thumbs([room(1)])) == []


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (15, 0), (-20, 5)])
def test_the_cameras_motion_is_measured(dx: int, dy: int) -> None:
    """To a few pixels of a picture 640 wide."""
    texture = np.kron(RNG.integers(0, 255, (100, 160)), np.ones((5, 5))).astype(np.uint8)
    grey = small_grey(np.repeat(texture[..., None], 3, axis=2), 2000)
    before, after = grey[60:420, 60:700], grey[60 - dy : 420 - dy, 60 - dx : 700 - dx]
    assert camera_shift(before, after) == pytest.approx((dx, dy), abs=5)
