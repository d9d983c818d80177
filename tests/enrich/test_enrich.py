import numpy as np
import pytest

from mer_pipeline.enrich.cues import SCALES, MeasureCues, cue_words
from mer_pipeline.enrich.schema import Request
from mer_pipeline.enrich.template import Template, polarity
from mer_pipeline.enrich.transform import Enrich
from mer_pipeline.errors import Skip
from mer_pipeline.params import EnrichParams
from tests.conftest import clip, face_row, sound_row, valid


def measures(clip_id: str, **changes: float | None) -> dict[str, object]:
    base = {scale.measure: 0.0 for scale in SCALES} | {"coverage": 1.0, "pause_share": 0.1}
    return {"clip_id": clip_id, "valid": True, **base, **changes}


USUAL = [measures(f"usual{at}") for at in range(6)]


def words(row: dict[str, object], language: str = "en") -> list[str]:
    rows = [*USUAL, row]
    return cue_words(rows, {str(r["clip_id"]): "s1" for r in rows}, language)[str(row["clip_id"])]


@pytest.mark.parametrize(
    ("difference", "word"),
    [
        (-5.0, "voice much lower than usual"),
        (-2.0, "voice lower"),
        (0.5, None),
        (2.0, "voice higher"),
        (5.0, "voice much higher than usual"),
    ],
)
def test_pitch_is_named_against_the_speakers_habit(difference: float, word: str | None) -> None:
    """In semitones from the group's median."""
    assert words(measures("x", pitch=difference)) == ([word] if word else [])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_measure_has_words_in_both_languages(language: str) -> None:
    """Four different words a scale."""
    for scale in SCALES:
        found = {tuple(words(measures("x", **{scale.measure: sign * size}), language))
                 for sign in (-1, 1) for size in (scale.clear, scale.strong)}  # fmt: skip
        assert len(found) == 4


def test_a_small_group_is_not_compared() -> None:
    """Two clips make no habit."""
    rows = [measures("a"), measures("b", pitch=9.0)]
    assert cue_words(rows, {"a": "s", "b": "s"}, "en") == {"a": [], "b": []}


def test_absence_is_said() -> None:
    """No voice and no face are cues of their own."""
    row = measures("x", coverage=None, loudness=None, pitch=None)
    assert words(row) == ["no face seen", "no voice heard"]
    assert words(measures("x", coverage=0.5)) == ["face seen part of the time"]


def test_one_new_clip_leaves_the_others_words() -> None:
    """Cross-row context is coarse: a habit moves by less than a step."""
    rng = np.random.default_rng(0)
    rows = [measures(f"c{at}", pitch=float(rng.normal(0, 3))) for at in range(30)]
    group = {f"c{at}": "s" for at in range(31)}
    before, after = cue_words(rows, group, "en"), cue_words([*rows, measures("c30", pitch=8.0)], group, "en")
    assert sum(before[key] != after[key] for key in before) <= 2


def test_measures_of_what_there_is() -> None:
    """Sound without a face leaves the face's measures null, and the other way round."""
    stage = MeasureCues()
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    row = stage.prepare(clip(transcript=valid(zh="a", en=None), audio=sound_row(tone), faces=None))
    assert row["pitch"] == pytest.approx(24.0, abs=0.2)
    assert row["coverage"] is None
    row = stage.prepare(clip(transcript=None, audio=None, faces=face_row(3)))
    assert (row["pitch"], row["coverage"]) == (None, 1.0)
    with pytest.raises(Skip, match="neither sound nor face"):
        stage.prepare(clip(transcript=None, audio=None, faces={"valid": False, "reason": "no face found"}))


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("I am so happy", "+"),
        ("太棒了，可是我很担心", "+-"),
        ("The bus leaves at nine", ""),
        ("unhappy", ""),
        ("GREAT!", "+"),
    ],
)
def test_polarity(text: str, signs: str) -> None:
    """English words stand alone, Chinese ones anywhere."""
    assert polarity(text) == frozenset(signs)


def test_template_joins_words_and_cues() -> None:
    """One text with what was said and how, in the wanted language."""
    request = Request("你好！", "Hello!", ("voice higher",), "en")
    assert Template().enrich([request])[0].text == "你好！ / Hello! [voice higher, an exclamation]"
    chinese = Template().enrich([Request("太棒了", None, ("声音偏高",), "zh")])[0]
    assert (chinese.text, chinese.status) == ("太棒了 [声音偏高，用词积极]", "ok")


def test_enrichment_without_words_or_without_cues() -> None:
    """Either alone is enough; without both there is nothing to say."""
    stage = Enrich(EnrichParams())
    only_cues = stage.prepare(
        clip(transcript={"valid": False, "reason": "no subtitle"}, cue_words={"words": ["very loud"]})
    )
    row = stage.infer([only_cues])[0]
    assert isinstance(row, dict)
    assert (row["text"], row["status"]) == ("[very loud]", "no subtitle")
    only_words = stage.prepare(clip(transcript=valid(zh=None, en="Hello."), cue_words=None))
    assert stage.infer([only_words])[0]["text"] == "Hello."  # type: ignore[index]
    with pytest.raises(Skip):
        stage.prepare(clip(transcript=None, cue_words=None))
