import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.media.sound import read_sound

Make = Callable[..., Path]


def every(times: np.ndarray, end: float) -> np.ndarray:
    return np.arange(len(times))


def end_of(path: Path, **true: float) -> float:
    """Where the last frame ends, as the chooser of frames is told."""
    ends = []

    def choose(times: np.ndarray, end: float) -> np.ndarray:
        ends.append(end)
        return every(times, end)

    list(read_pictures(path, choose, **true))
    assert len(ends) == 1
    return float(ends[0])


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


def test_times_are_from_the_clips_start(make_film: Make) -> None:
    """A clock that begins at five seconds is no five seconds of nothing."""
    times = [5000 + 100 * at for at in range(20)]
    path = make_film("late.mkv", frames=20, times=times, tone=None)
    assert [p.time for p in read_pictures(path, every)] == pytest.approx([0.1 * at for at in range(20)], abs=2e-3)
    assert end_of(path) == pytest.approx(2.0, abs=2e-3)


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


def atoms(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Name and offset of the content of every atom of an mp4, in order, the inner ones after the outer."""
    while start < end:
        size, name = struct.unpack_from(">I4s", data, start)
        yield name, start + 8
        if name in {b"moov", b"trak", b"mdia", b"edts"}:
            yield from atoms(data, start + 8, start + size)
        start += size


def edit(path: Path, start: float, seconds: float) -> Path:
    """Rewrite a film's edit lists, so that each track is shown from `start` on for so many seconds; nothing is cut."""
    data = bytearray(path.read_bytes())
    found = list(atoms(bytes(data), 0, len(data)))

    def units(name: bytes) -> list[int]:
        """Units in a second of the film and of each track; they follow version, flags and two dates."""
        return [struct.unpack_from(">I", data, at + 12)[0] for kind, at in found if kind == name]

    lists = [at for kind, at in found if kind == b"elst"]
    assert len(lists) == len(units(b"mdhd"))
    for at, units_of_track in zip(lists, units(b"mdhd"), strict=True):
        entries, _, begin = struct.unpack_from(">IIi", data, at + 4)
        assert entries == 1
        shown = round(seconds * units(b"mvhd")[0]), begin + round(start * units_of_track)
        struct.pack_into(">Ii", data, at + 8, *shown)
    out = path.with_name(f"edited_{path.name}")
    out.write_bytes(data)
    return out


@pytest.mark.parametrize("key_every", [10, 250])
def test_what_an_edit_list_hides_is_neither_shown_nor_missed(make_film: Make, key_every: int) -> None:
    """A film of 6 s, trimmed to 1.5 to 3.5 s without being written anew, as telephones do.

    The frames are those of that span, with times from its start, and the last one ends with it; so is the sound.
    What is hidden is no cut, whether the key frames' distance leaves it in FFmpeg's table (250) or not (10).
    """
    whole = make_film(frames=60, rate=10, key_every=key_every, silent_until=2.0)
    trimmed = edit(whole, 1.5, 2.0)
    found = list(read_pictures(trimmed, every))
    expected = list(read_pictures(whole, every))[15:35]
    assert [p.time for p in found] == pytest.approx([at / 10 for at in range(20)], abs=1e-3)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(found, expected, strict=True))
    assert end_of(trimmed) == pytest.approx(2.0, abs=1e-3)
    sound = read_sound(trimmed, 10)
    assert len(sound) / 16_000 == pytest.approx(2.0, abs=1024 / 16_000)  # it ends with a packet
    assert np.argmax(np.abs(sound) > 0.05) / 16_000 == pytest.approx(0.5, abs=0.005)


def test_edited_films_start_where_they_are_shown(real: Path) -> None:
    """Packets that an edit list hides are neither counted as missing nor shown."""
    found = list(read_pictures(real / "edge/no_face.mp4", every))
    assert len(found) == 95


@pytest.mark.parametrize(
    ("options", "true", "end"),
    [
        ({"frames": 20, "rate": 10}, {}, 2.0),
        ({"frames": 6, "times": [0, 40, 80, 500, 540, 1500]}, {}, 1.54),  # the step that most frames have
        ({"frames": 2, "rate": 10}, {}, 0.2),
        ({"frames": 1, "seconds": 1.0}, {}, 0.0),
        ({"frames": 15, "rate": 5}, {"fps": 4.0}, 3.75),
        ({"frames": 15, "rate": 5}, {"duration": 3.6}, 3.6),
        ({"frames": 15, "rate": 5}, {"fps": 4.0, "duration": 3.6}, 3.75),
    ],
)
def test_the_last_frame_ends_a_step_after_it_begins(
    make_film: Make, options: dict[str, object], true: dict[str, float], end: float
) -> None:
    """The spans that frames are sampled from reach to the end of the last frame, and not to its beginning."""
    assert end_of(make_film(**options), **true) == pytest.approx(end, abs=2e-3)


def write_sound(
    path: Path, channels: int, codec: str, rate: int = 16_000, loudness: float = 0.9, **options: str
) -> Path:
    """The same sine on every channel."""
    wave = (loudness * np.sin(2 * np.pi * 200 * np.arange(rate) / rate)).astype(np.float32)
    with av.open(str(path), "w", options=options) as out:
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


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_other_rates_are_resampled_to_the_last_sample(tmp_path: Path, rate: int, channels: int) -> None:
    """The same sine at 16 kHz, in phase, up to its end: what the resampler holds back is not lost."""
    sound = read_sound(write_sound(tmp_path / "a.wav", channels, "pcm_s16le", rate), 10)
    assert len(sound) == pytest.approx(16_000, abs=2)
    expected = 0.9 * np.sin(2 * np.pi * 200 * np.arange(len(sound)) / 16_000)
    np.testing.assert_allclose(sound[100:-100], expected[100:-100], atol=0.01)
    np.testing.assert_allclose(sound[-100:], expected[-100:], atol=0.2)  # the filter sees nothing beyond the end


BARE = {"id3v2_version": "0", "write_xing": "0"}  # frames alone


def test_channels_may_change_midway(tmp_path: Path) -> None:
    """An mp3 that is stereo first and mono then, as two that were put together are: all of its sound is there."""
    parts = [write_sound(tmp_path / f"{n}.mp3", n, "mp3", **BARE).read_bytes() for n in (2, 1)]
    (tmp_path / "both.mp3").write_bytes(b"".join(parts))
    sound = read_sound(tmp_path / "both.mp3", 10)
    assert len(sound) == pytest.approx(2 * 16_000, abs=3000)  # mp3 pads its ends
    for half in (sound[4000:12_000], sound[-12_000:-4000]):
        assert np.abs(half).max() == pytest.approx(0.9, abs=0.08)


@pytest.mark.parametrize("what", ["picture", "sound"])
def test_a_codec_that_nobody_knows_is_bad_input(make_film: Make, what: str) -> None:
    """One sentence, for good; the file's other half is read."""
    path = make_film(frames=5)
    names = {b"avc1": b"zzz1"} if what == "picture" else {b"mp4a": b"zzz1", b"\x40\x15": b"\xfe\x15"}
    for name, other in names.items():
        assert name in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(name, other))
    with pytest.raises(BadInput, match=f"the file's {what} is of a kind that FFmpeg cannot decode"):
        list(read_pictures(path, every)) if what == "picture" else read_sound(path, 10)
    assert len(read_sound(path, 10) if what == "picture" else list(read_pictures(path, every))) >= 5


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
