from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.errors import BadInput, Skip
from mer_pipeline.media.decode import read_pictures, read_sound

Make = Callable[..., Path]


def every(times: np.ndarray, end: float) -> np.ndarray:
    return np.arange(len(times))


def test_times_and_order_are_those_of_presentation(make_film: Make) -> None:
    """H.264 stores frames out of order; they come in the order in which they are shown."""
    found = list(read_pictures(make_film(frames=20, rate=10), every))
    assert [p.time for p in found] == pytest.approx([0.1 * at for at in range(20)], abs=1e-3)
    reds = [int(p.rgb[40, 32, 0]) for p in found]
    assert reds == sorted(reds)
    assert reds[-1] - reds[0] > 150


def test_variable_frame_rate_keeps_its_own_times(make_film: Make) -> None:
    """Times are read and not counted."""
    times = [0, 40, 80, 500, 540, 1500]
    found = list(read_pictures(make_film(frames=6, times=times), every))
    assert [p.time for p in found] == pytest.approx([t / 1000 for t in times], abs=2e-3)


def test_only_chosen_frames_are_given(make_film: Make) -> None:
    """A frame in the middle is the same whether or not its neighbours were asked for."""
    path = make_film(frames=20)
    alone = list(read_pictures(path, lambda times, end: np.array([7])))
    among = list(read_pictures(path, every))
    assert len(alone) == 1
    assert np.array_equal(alone[0].rgb, among[7].rgb)


def test_one_frame_is_enough(make_film: Make) -> None:
    """A single picture has a time and no duration."""
    found = list(read_pictures(make_film(frames=1, seconds=1.0), every))
    assert [p.time for p in found] == [0.0]


def test_the_dataset_may_know_the_rate_better(make_film: Make) -> None:
    """`fps` and `duration` override the file's times."""
    path = make_film(frames=15, rate=5)
    assert [p.time for p in read_pictures(path, every, fps=4.0)][:3] == [0.0, 0.25, 0.5]
    stretched = [p.time for p in read_pictures(path, every, duration=3.6)]
    assert stretched[1] == pytest.approx(0.24)


def test_a_cut_off_file_is_bad_input(make_film: Make) -> None:
    """Half a file is not half a clip: it is copied again."""
    path = make_film(frames=40, size=(160, 120))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(BadInput, match=r"cut off|decoded"):
        list(read_pictures(path, every))


def test_no_picture_and_no_sound_are_skips(make_film: Make) -> None:
    """Absence is no failure."""
    with pytest.raises(Skip, match="no picture"):
        list(read_pictures(make_film("s.mp4", frames=0, seconds=1.0), every))
    with pytest.raises(Skip, match="no sound track"):
        read_sound(make_film("v.mp4", tone=None), 10)


def test_sound_keeps_pitch_length_and_loudness(make_film: Make) -> None:
    """16 kHz mono, untouched."""
    sound = read_sound(make_film(frames=20, tone=220.0, loudness=0.25), 10)
    assert len(sound) / 16_000 == pytest.approx(2.0, abs=0.1)
    middle = sound[8000:24000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == pytest.approx(220, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.25, abs=0.02)


def test_endless_sound_is_bounded(make_film: Make) -> None:
    """A clip longer than allowed is bad input, and says which setting."""
    with pytest.raises(BadInput, match=r"audio\.max_seconds"):
        read_sound(make_film(frames=20), 0.5)


def test_edited_films_start_where_they_are_shown(real: Path) -> None:
    """Packets that an edit list hides are neither counted as missing nor shown."""
    found = list(read_pictures(real / "edge/no_face.mp4", every))
    assert len(found) == 95
