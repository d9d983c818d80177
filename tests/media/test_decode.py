import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.media.sound import read_sound
from tests.media.make import number_of, write
from tests.odd import two_sizes

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


def cut_out(whole: Path, out: Path, first: int) -> Path:
    """Copy a film from a packet on, without encoding anew."""
    with av.open(str(whole)) as source, av.open(str(out), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in [p for p in source.demux(source.streams.video[0]) if p.size][first:]:
            packet.stream = stream
            sink.mux(packet)
    return out


@pytest.mark.parametrize("codec", ["mpeg4", "libvpx", "libx264"])
def test_frames_that_the_decoder_drops_do_not_shift_the_others(tmp_path: Path, codec: str) -> None:
    """A film that begins seven frames before a key frame, at 20 per second: each frame keeps its own number's time."""
    whole = write(tmp_path / "whole.mkv", codec, None, encoder={"g": "10", "bf": "0"})
    found = list(read_pictures(cut_out(whole, tmp_path / "cut.mkv", 3), every))
    assert [number_of(p.rgb) for p in found] == list(range(10, 40))
    assert [p.time for p in found] == pytest.approx([(at - 3) / 20 for at in range(10, 40)], abs=1e-3)


@pytest.mark.parametrize("codec", ["mpeg4", "libvpx", "libx264"])
def test_a_film_that_loses_frames_is_damaged(tmp_path: Path, codec: str) -> None:
    """The decoder leaves out what it cannot show and says nothing. More than half a second at the start is damage."""
    whole = write(tmp_path / "whole.mkv", codec, None, encoder={"g": "20", "bf": "0"})
    with pytest.raises(BadInput, match=r"damaged: \d+ of its 37 frames do not decode"):
        list(read_pictures(cut_out(whole, tmp_path / "cut.mkv", 3), every))


B_FRAMES = [
    ("a.avi", "mpeg4", {"bf": "2", "g": "12"}),
    ("a.avi", "libx264", {"bf": "3", "g": "12"}),
    ("a.avi", "libx264", {"bf": "0"}),
    ("a.avi", "mpeg4", {"bf": "0"}),
    ("a.mkv", "libx264", {"bf": "3"}),
    ("a.mp4", "libx265", {"bf": "3"}),
    ("a.mp4", "libx264", {"bf": "3", "b-pyramid": "normal"}),
    ("a.webm", "libvpx", {}),
]


@pytest.mark.parametrize(("name", "codec", "encoder"), B_FRAMES)
def test_every_frame_has_its_own_time(tmp_path: Path, name: str, codec: str, encoder: dict[str, str]) -> None:
    """Whatever order the frames are stored in: AVI has no times for it, and FFmpeg invents wrong ones."""
    path = write(tmp_path / name, codec, None, encoder=encoder)
    found = list(read_pictures(path, every))
    assert [number_of(p.rgb) for p in found] == list(range(40))
    assert [p.time for p in found] == pytest.approx([at / 20 for at in range(40)], abs=2e-3)


def test_packets_that_are_never_shown_are_no_lost_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VP8 stores pictures that others are made from, and a bit says so; here not one other frame may be missing."""
    path = write(tmp_path / "a.webm", "libvpx", None)
    hidden = [5, 15]
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.webm"), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for at, packet in enumerate(p for p in source.demux(source.streams.video[0]) if p.size):
            data = bytearray(bytes(packet))
            data[0] &= 0xEF if at in hidden else 0xFF
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
            copy.is_keyframe = packet.is_keyframe
            sink.mux(copy)
    monkeypatch.setattr("mer_pipeline.media.decode.COMPLETE", 1.02)
    found = list(read_pictures(tmp_path / "b.webm", every))
    assert [number_of(p.rgb) for p in found] == [at for at in range(40) if at not in hidden]


def test_a_chosen_frame_is_the_same_alone_in_avi(tmp_path: Path) -> None:
    """A frame is found by its place in the film, also where its packet's time is wrong."""
    path = write(tmp_path / "a.avi", "libx264", None, encoder={"bf": "3", "g": "12"})
    for at in (0, 7, 22, 39):
        [found] = read_pictures(path, lambda times, end, at=at: np.array([at]))  # type: ignore[misc]
        assert number_of(found.rgb) == at


def test_times_of_decoding_are_not_taken_for_times_of_presentation(tmp_path: Path) -> None:
    """An mp4 of B-frames without the table of offsets, as some make: the frames come in order, at equal steps."""
    path = write(tmp_path / "a.mp4", "libx264", None, encoder={"bf": "3"})
    path.write_bytes(path.read_bytes().replace(b"ctts", b"free").replace(b"elst", b"free"))
    found = list(read_pictures(path, every))
    assert [number_of(p.rgb) for p in found] == list(range(40))
    assert np.diff([p.time for p in found]) == pytest.approx(1 / 20)


def test_the_size_may_change_midway(tmp_path: Path) -> None:
    """As in a recorded call: each picture has its own size."""
    path = tmp_path / "a.mkv"
    two_sizes(path)
    found = list(read_pictures(path, every))
    assert [p.rgb.shape[:2] for p in found] == [(120, 160)] * 10 + [(72, 96)] * 10
    assert [number_of(p.rgb) for p in found] == [*range(10), *range(10)]


def test_no_frame_starts_a_thread(make_film: Callable[..., Path]) -> None:
    """A long clip would start hundreds, beyond what a decoding process may have."""

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    path, seen = make_film(frames=40), []
    before = threads()
    for _ in read_pictures(path, lambda times, end: np.arange(len(times))):
        seen.append(threads())
    assert len(seen) == 40
    assert max(seen) <= before
