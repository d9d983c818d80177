from collections.abc import Callable
from pathlib import Path

import av
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


def write_sound(path: Path, channels: int, codec: str, rate: int = 16_000, loudness: float = 0.9) -> Path:
    """The same sine on every channel."""
    wave = (loudness * np.sin(2 * np.pi * 200 * np.arange(rate) / rate)).astype(np.float32)
    with av.open(str(path), "w") as out:
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        stream = out.add_stream(codec, rate=rate, layout=layout)
        sound = np.round(np.repeat(wave[:, None], channels, axis=1) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("name", ["a.wav", "a.mov", "a.avi"])
def test_channels_are_averaged(tmp_path: Path, channels: int, name: str) -> None:
    """One sine on all channels is as loud as on one, and raw samples in a film are not taken for a cut-off file."""
    sound = read_sound(write_sound(tmp_path / name, channels, "pcm_s16le"), 10)
    assert np.abs(sound[2000:-2000]).max() == pytest.approx(0.9, abs=0.01)
    assert len(sound) == pytest.approx(16_000, abs=40)


def test_frames_that_the_decoder_drops_do_not_shift_the_others(make_film: Make, tmp_path: Path) -> None:
    """A film that begins in the middle of a group of pictures: each frame keeps its own time."""
    path = make_film(frames=40, rate=10, tone=None)
    reds = [int(p.rgb[40, 32, 0]) for p in read_pictures(path, every)]
    cut = tmp_path / "cut.mkv"
    with av.open(str(path)) as source, av.open(str(cut), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [p for p in source.demux(source.streams.video[0]) if p.size]
        key = next(at for at, p in enumerate(packets) if p.is_keyframe)
        for packet in packets[key + 3 :]:
            packet.stream = stream
            out.mux(packet)
    first = packets[key + 3].pts * float(packets[key + 3].time_base)
    try:
        found = list(read_pictures(cut, every))
    except BadInput:
        return  # nothing in it decodes without its key frame: that is said, and no frame gets a wrong time
    for picture in found:
        assert abs(int(picture.rgb[40, 32, 0]) - reds[round((picture.time + first) * 10)]) <= 12
