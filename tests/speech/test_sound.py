from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.errors import Skip
from mer_pipeline.speech.logmel import PROSODY_DIM, Prosody, prosody, prosody_functionals
from mer_pipeline.speech.logmel import _median3 as median3
from mer_pipeline.speech.track import AudioParams, ExtractAudio, Sound, dbfs, loudest_dbfs
from tests.conftest import clip, listed

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0, loudness: float = 0.3) -> np.ndarray:
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def voice(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A buzz with harmonics, as a voice has them."""
    return sum(tone(hertz * k, seconds, 0.2 / k) for k in range(1, 9))


@pytest.mark.parametrize("hertz", [62, 75, 110, 147, 220, 330, 450, 490])
def test_pitch_of_a_buzz(hertz: float) -> None:
    """Within a quarter tone, without octave errors."""
    found = prosody(voice(hertz))
    assert found.voiced.mean() > 0.9
    assert np.nanmedian(found.pitch) == pytest.approx(hertz, rel=0.03)


def test_noise_and_silence_are_not_voiced() -> None:
    """Pitch is NaN where there is none."""
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert prosody(noise).voiced.mean() < 0.1
    assert not prosody(np.zeros(RATE, np.float32)).voiced.any()


def test_pace_counts_syllables() -> None:
    """Bursts of sound, so many a second."""
    for rate in (2, 4, 6):
        envelope = np.clip(np.sin(2 * np.pi * rate * np.arange(2 * RATE) / RATE), 0, None)
        assert prosody((voice(150, 2.0) * envelope).astype(np.float32)).pace == pytest.approx(rate, abs=0.6)


def test_pauses_are_a_share_of_the_clip() -> None:
    """Half a second of sound in one second."""
    sound = np.concatenate([voice(150, 0.5), np.zeros(RATE // 2)]).astype(np.float32)
    assert prosody(sound).pause_share == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(10), np.zeros(RATE), np.ones(RATE), voice(100, 0.03)])
def test_functionals_are_always_finite(samples: np.ndarray) -> None:
    """Empty, short, silent and constant sound have numbers too."""
    numbers = prosody_functionals(prosody(samples.astype(np.float32)))
    assert numbers.shape == (PROSODY_DIM,)
    assert np.isfinite(numbers).all()


def test_a_contour_has_a_value_every_10_ms_at_its_own_time() -> None:
    """Sound from 0.5 to 0.8 s: the frames there sound, are voiced, and have its level."""
    sound = np.concatenate([np.zeros(RATE // 2), tone(200, 0.3, 0.5), np.zeros(RATE // 5)]).astype(np.float32)
    found = prosody(sound)
    assert len(found.level) == len(found.pitch) == 101
    assert np.flatnonzero(found.sounding)[[0, -1]] == pytest.approx([50, 80], abs=2)
    assert np.flatnonzero(found.voiced)[[0, -1]] == pytest.approx([50, 80], abs=2)
    assert found.level[55:75] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)


def test_a_single_octave_jump_is_taken_out() -> None:
    """The median of three neighbours, where all are voiced; the first and the last stay."""
    nan = float("nan")
    contour = np.array([100, 100, 200, 101, 102, nan, 103, 206, 104])
    expected = np.array([100, 100, 101, 102, 102, nan, 103, 104, 104])
    np.testing.assert_array_equal(median3(contour), expected)
    np.testing.assert_array_equal(median3(np.array([100.0, 200, 100])), [100, 100, 100])
    np.testing.assert_array_equal(median3(np.array([100.0, 200])), [100, 200])


def test_functionals_by_hand() -> None:
    """Mean, deviation, percentiles, slope over the whole and mean step of the voiced pitch in semitones and of the
    sounding level; then pace, pauses, voiced share and seconds."""
    nan = float("nan")
    pitch = np.array([110, 110, nan, 220, nan, 220, nan, nan, nan, nan])  # 12, 12, 24 and 24 semitones above 55 Hz
    level = np.array([-20.0, -21, -22, -23, -24, -25, -90, -90, -90, -90])
    found = prosody_functionals(Prosody(level, level > -50, pitch))
    tones, loud = np.array([12, 12, 24, 24.0]), level[:6]
    for numbers, contour, slope, step in ((found[:7], tones, 14.4, 4.0), (found[7:14], loud, -5.0, 1.0)):
        percentiles = np.percentile(contour, [10, 50, 90])
        np.testing.assert_allclose(numbers, [contour.mean(), contour.std(), *percentiles, slope, step], atol=1e-9)
    assert found[14:].tolist() == pytest.approx([found[14], 0.4, 0.4, 0.1])


def test_levels() -> None:
    """A full-scale sine has -3 dBFS; one loud moment is heard in a quiet clip."""
    assert dbfs(tone(200, loudness=1.0)) == pytest.approx(-3.01, abs=0.02)
    cry = np.concatenate([np.zeros(RATE * 4, np.float32), tone(400, 0.1, 0.5)])
    assert dbfs(cry) < -20
    assert loudest_dbfs(cry) == pytest.approx(-9.03, abs=0.1)
    assert loudest_dbfs(np.zeros(0, np.float32)) == -120.0


def stage(root: Path) -> ExtractAudio:
    return ExtractAudio(AudioParams(), root)


def test_sound_of_a_clip(make_film: Callable[..., Path], tmp_path: Path) -> None:
    """16-bit samples at 16 kHz, with the loudness that it has."""
    make_film("a.mp4", loudness=0.25)
    row = stage(tmp_path).prepare(clip(manifest=listed(tmp_path, video="a.mp4")))
    samples = Sound.of(row).samples
    assert row["seconds"] == pytest.approx(2.0, abs=0.1)
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.02)
    assert row["loudest_dbfs"] == pytest.approx(-15.05, abs=0.5)


def test_a_sound_file_beside_the_clip_comes_first(make_film: Callable[..., Path], tmp_path: Path) -> None:
    """Where the dataset has cleaned sound, that is used."""
    make_film("a.mp4", tone=300.0)
    make_film("b.mp4", frames=0, seconds=1.0, tone=150.0)
    row = stage(tmp_path).prepare(clip(manifest=listed(tmp_path, video="a.mp4", audio="b.mp4")))
    spectrum = np.abs(np.fft.rfft(Sound.of(row).samples))
    assert np.argmax(spectrum) * RATE / (2 * len(spectrum) - 2) == pytest.approx(150, abs=2)


@pytest.mark.parametrize(("options", "reason"), [({"loudness": 0.0}, "silent"), ({"tone": None}, "no sound track")])
def test_no_sound_is_a_skip(
    make_film: Callable[..., Path], tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    """Silence and absence are flagged, not embedded."""
    make_film("a.mp4", **options)
    with pytest.raises(Skip, match=reason):
        stage(tmp_path).prepare(clip(manifest=listed(tmp_path, video="a.mp4")))


@pytest.mark.outcome("no sound track; digital silence", '"silent" (`audio.silence_dbfs`)')
def test_what_is_below_the_level_of_silence_is_silent(make_film: Callable[..., Path], tmp_path: Path) -> None:
    """A tone of -33 dBFS is, where the level is -20."""
    make_film("a.mp4", loudness=0.03)
    manifest = listed(tmp_path, video="a.mp4")
    assert stage(tmp_path).prepare(clip(manifest=manifest))["loudest_dbfs"] == pytest.approx(-33.5, abs=0.5)
    with pytest.raises(Skip, match="silent"):
        ExtractAudio(AudioParams(silence_dbfs=-20), tmp_path).prepare(clip(manifest=manifest))
