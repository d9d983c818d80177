from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.errors import BadInput
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.media.probe import probe
from mer_pipeline.media.sound import read_sound
from tests.media.make import tone, write, write_wav

Make = Callable[..., Path]

# Bits of a WAV's channel mask.
FL, FR, FC, LFE, BL, BR, SL, SR = 1, 2, 4, 8, 16, 32, 0x200, 0x400
BARE = {"id3v2_version": "0", "write_xing": "0"}  # an mp3 of frames alone


def level(sound: np.ndarray, loudness: float = 0.3) -> float:
    """How many decibels louder a sound is than a sine of some amplitude; its ends are left out."""
    return float(20 * np.log10(np.sqrt(np.mean(np.square(sound[500:-500], dtype=np.float64))) / (loudness / 2**0.5)))


def mix(folder: Path, gains: dict[int, float], mask: int | None, loudness: float = 0.3) -> np.ndarray:
    """The mono sound of a WAV whose channels hold one sine, each with its own gain."""
    wave = tone(1.0, 16_000, loudness)
    path = write_wav(folder / "a.wav", np.stack([gain * wave for gain in gains.values()]), mask=mask)
    return read_sound(path, 10)


def centre(gains: dict[int, float]) -> dict[int, float]:
    """All channels of 5.1, silent but for some."""
    return {place: gains.get(place, 0.0) for place in (FL, FR, FC, LFE, BL, BR)}


FIVE_ONE = FL | FR | FC | LFE | BL | BR
RULE = [
    ("mono", {FC: 1.0}, FC, 0.0),
    ("stereo, panned to the middle by an engineer", {FL: 0.5**0.5, FR: 0.5**0.5}, FL | FR, 0.0),
    ("stereo, the same signal twice", {FL: 1.0, FR: 1.0}, FL | FR, 3.01),
    ("stereo, left alone", {FL: 1.0, FR: 0.0}, FL | FR, -3.01),
    ("stereo, opposite", {FL: 1.0, FR: -1.0}, FL | FR, 3.01),
    ("5.1, centre only", centre({FC: 1.0}), FIVE_ONE, 0.0),
    ("5.1, left alone", centre({FL: 1.0}), FIVE_ONE, -3.01),
    ("5.1, behind on the right alone", centre({BR: 1.0}), FIVE_ONE, -6.02),
    ("5.1, front left and right opposite", centre({FL: 1.0, FR: -1.0}), FIVE_ONE, 3.01),
    ("5.1 with the surround at the sides", {FL: 0, FR: 0, FC: 1.0, LFE: 0, SL: 0, SR: 0}, 0x60F, 0.0),
    ("7.1, centre only", {**centre({FC: 1.0}), SL: 0, SR: 0}, FIVE_ONE | SL | SR, 0.0),
    ("two channels that the file does not name", {1: 0.5**0.5, 2: 0.5**0.5}, None, 0.0),
    ("two such channels, opposite", {1: 1.0, 2: -1.0}, None, 3.01),
    ("six such channels, the third alone", centre({FC: 1.0}), None, 0.0),
    ("four such channels, one alone", {1: 1.0, 2: 0, 3: 0, 4: 0}, None, -6.02),
]


@pytest.mark.parametrize(("gains", "mask", "decibels"), [row[1:] for row in RULE], ids=[row[0] for row in RULE])
def test_channels_are_mixed_as_they_are_meant(
    tmp_path: Path, gains: dict[int, float], mask: int | None, decibels: float
) -> None:
    """The rule of docs/method.md: how loud a sine comes out, by the channels that hold it."""
    assert level(mix(tmp_path, gains, mask)) == pytest.approx(decibels, abs=0.02)


def test_mono_keeps_its_samples(tmp_path: Path) -> None:
    """Nothing is done to one channel, whatever its loudness."""
    wave = tone(1.0, 16_000, 0.99)
    sound = read_sound(write_wav(tmp_path / "a.wav", wave[None]), 10)
    assert np.array_equal(np.round(wave * 32767) / 32768, sound)


def test_what_is_below_the_voice_stays_out(tmp_path: Path) -> None:
    """The effects channel holds no voice."""
    assert not mix(tmp_path, centre({LFE: 1.0}), FIVE_ONE).any()


def test_a_sum_beyond_full_scale_is_lowered_and_not_clipped(tmp_path: Path) -> None:
    """A loud sine on both channels is still a sine, as loud as full scale allows."""
    sound = mix(tmp_path, {FL: 1.0, FR: 1.0}, FL | FR, loudness=0.95)
    assert np.abs(sound).max() == pytest.approx(1.0)
    np.testing.assert_allclose(sound, tone(1.0, 16_000, 1.0), atol=1e-3)


def test_voices_on_two_sides_are_not_opposite(tmp_path: Path) -> None:
    """Two people with a microphone each, or music around a voice: the right side is turned only where all cancels."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(0, 0.1, (2, 16_000)).astype(np.float32)
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack([left, -0.5 * left + right]), mask=FL | FR), 10)
    np.testing.assert_allclose(sound, 0.5**0.5 * (0.5 * left + right), atol=1e-3)


def test_sound_keeps_pitch_length_and_loudness(make_film: Make) -> None:
    """16 kHz mono, untouched."""
    sound = read_sound(make_film(frames=20, tone=220.0, loudness=0.25), 10)
    assert len(sound) / 16_000 == pytest.approx(2.0, abs=0.1)
    middle = sound[8000:24000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == pytest.approx(220, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_other_rates_are_resampled_to_the_last_sample(tmp_path: Path, rate: int, channels: int) -> None:
    """The same sine at 16 kHz, in phase, up to its end: what the resampler holds back is not lost."""
    wave = tone(1.0, rate, 0.9 * 0.5 ** ((channels - 1) / 2), hertz=200.0)
    mask = FC if channels == 1 else FL | FR
    sound = read_sound(write_wav(tmp_path / "a.wav", np.repeat(wave[None], channels, axis=0), rate, mask), 10)
    assert len(sound) == pytest.approx(16_000, abs=2)
    expected = 0.9 * np.sin(2 * np.pi * 200 * np.arange(len(sound)) / 16_000)
    np.testing.assert_allclose(sound[100:-100], expected[100:-100], atol=0.01)
    np.testing.assert_allclose(sound[-100:], expected[-100:], atol=0.2)  # the filter sees nothing beyond the end


@pytest.mark.parametrize("name", ["a.mov", "a.avi"])
def test_raw_samples_in_a_film_are_not_taken_for_a_cut_off_file(tmp_path: Path, name: str) -> None:
    """FFmpeg lists them otherwise than packets of other codecs."""
    assert len(read_sound(write(tmp_path / name, None, "pcm_s16le", rate=16_000), 10)) == 32_000


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"layout": "stereo"}, {"layout": "mono"}),
        ({"rate": 48_000}, {"rate": 32_000}),
        ({"layout": "mono", "rate": 32_000}, {"layout": "stereo", "rate": 44_100}),
    ],
)
def test_channels_and_rate_may_change_midway(tmp_path: Path, first: dict[str, str], second: dict[str, str]) -> None:
    """An mp3 of two that were put together: all of its sound is there, each half with its own rule and pitch."""
    parts = [write(tmp_path / "part.mp3", None, "libmp3lame", muxer=BARE, **of).read_bytes() for of in (first, second)]  # type: ignore[arg-type]
    (tmp_path / "both.mp3").write_bytes(b"".join(parts))
    sound = read_sound(tmp_path / "both.mp3", 10)
    assert len(sound) == pytest.approx(4 * 16_000, abs=3000)  # mp3 pads its ends
    for half, of in ((sound[8000:24_000], first), (sound[-24_000:-8000], second)):
        assert level(half) == pytest.approx(0.0 if of.get("layout") == "mono" else 3.01, abs=0.6)  # mp3
        assert np.argmax(np.abs(np.fft.rfft(half))) == pytest.approx(440, abs=2)


def begin_of(sound: np.ndarray) -> float:
    """When the first sound is heard, in seconds."""
    return int(np.argmax(np.abs(sound) > 0.1)) / 16_000


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_sound_that_starts_late_is_heard_late(tmp_path: Path, name: str) -> None:
    """Silence stands in its place, so that words and mouths go together."""
    path = write(tmp_path / name, "libx264", "aac", sound_start=0.7)
    sound = read_sound(path, 10)
    assert begin_of(sound) == pytest.approx(0.7, abs=0.03)
    assert len(sound) / 16_000 == pytest.approx(2.7, abs=0.05)


def test_pictures_that_start_late_are_seen_late(tmp_path: Path) -> None:
    """The clip starts with what is heard first, and nothing of it is lost."""
    path = write(tmp_path / "a.mkv", "libx264", "aac", start=3.0, sound_start=-0.6)
    sound = read_sound(path, 10)
    assert begin_of(sound) == pytest.approx(0.0, abs=0.03)
    assert len(sound) / 16_000 == pytest.approx(2.0, abs=0.05)
    first = next(iter(read_pictures(path, lambda times, end: np.array([0]))))
    assert first.time == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libopus"), ("a.mp4", "aac"), ("a.webm", "libopus")])
def test_a_hole_is_silence(tmp_path: Path, name: str, codec: str) -> None:
    """What comes after it stays where it was."""
    path = write(tmp_path / name, "libvpx" if name == "a.webm" else "libx264", codec, hole=(0.5, 1.2))
    sound = read_sound(path, 10)
    assert len(sound) / 16_000 == pytest.approx(2.0, abs=0.05)
    loud = np.abs(sound) > 0.1
    assert loud[: int(0.45 * 16_000)].any()
    assert not loud[int(0.55 * 16_000) : int(1.15 * 16_000)].any()
    assert begin_of(sound[int(0.6 * 16_000) :]) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("start", [100.0, 3605.5])
def test_a_clock_may_start_at_any_time(tmp_path: Path, start: float) -> None:
    """The clip is two seconds long, and its times are from 0."""
    path = write(tmp_path / "a.mkv", "libx264", "aac", start=start)
    assert probe(path).seconds == pytest.approx(2.0, abs=0.03)
    times = [found.time for found in read_pictures(path, lambda times, end: np.arange(len(times)))]
    assert times == pytest.approx([at / 20 for at in range(40)], abs=1e-3)
    sound = read_sound(path, 10)
    assert len(sound) / 16_000 == pytest.approx(2.0, abs=0.05)
    assert begin_of(sound) == pytest.approx(0.0, abs=0.005)


def test_the_lead_in_of_a_sound_codec_is_not_part_of_the_clip(tmp_path: Path) -> None:
    """Matroska films begin with 21 ms of sound that only warm the decoder up; pictures are not shifted by it."""
    path = write(tmp_path / "a.mkv", "libx264", "pcm_s16le", start=100.0, sound_start=-0.03)
    assert next(iter(read_pictures(path, lambda times, end: np.array([0])))).time == 0.0
    assert probe(path).seconds == pytest.approx(2.0, abs=1e-3)
    assert len(read_sound(path, 10)) == pytest.approx(1.97 * 16_000, abs=20)


def test_endless_sound_is_bounded(make_film: Make) -> None:
    """A clip longer than allowed is bad input, and the message says what to do."""
    with pytest.raises(BadInput, match=r"more than 0.5 s of sound: cut it into clips, or raise audio\.max_seconds"):
        read_sound(make_film(frames=20), 0.5)


@pytest.mark.outcome("sound, with its holes", "`audio.max_seconds`")
def test_a_hole_of_hours_is_not_filled(tmp_path: Path) -> None:
    """A wrong time in the file must not fill the memory."""
    path = write(tmp_path / "a.mkv", "libx264", "libopus", sound_start=3000.0)
    with pytest.raises(BadInput, match="more than 120 s of sound"):
        read_sound(path, 120)


@pytest.mark.outcome("channels; sample rate", "1 to 768 kHz")
@pytest.mark.parametrize("rate", [500, 2_000_000])
def test_an_impossible_rate_is_bad_input(tmp_path: Path, rate: int) -> None:
    """A resampler for it would take gigabytes."""
    with pytest.raises(BadInput, match=f"{rate} samples per second"):
        read_sound(write_wav(tmp_path / "a.wav", np.zeros((1, 1000), np.float32), rate), 10)


@pytest.mark.outcome("channels; sample rate", "64")
def test_too_many_channels_are_bad_input(tmp_path: Path) -> None:
    """Nobody records a voice with a hundred."""
    with pytest.raises(BadInput, match="100 channels, more than 64"):
        read_sound(write_wav(tmp_path / "a.wav", np.zeros((100, 1000), np.float32)), 10)
