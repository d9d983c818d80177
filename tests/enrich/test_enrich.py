import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.ask import ByServerParams
from mer_pipeline.enrich.context import Neighbours, neighbours_of, write_context
from mer_pipeline.enrich.cues import SCALES, MeasureCues, cue_words, note_small
from mer_pipeline.enrich.request import Request
from mer_pipeline.enrich.template import ByRulesParams, describe, polarity
from mer_pipeline.enrich.transform import Enrich
from mer_pipeline.tables.shards import read_parquet, shard_name, write_table
from mer_pipeline.vision.faces import UNSURE
from mer_pipeline.vision.geometry import brow_height
from tests.conftest import clip, face_row, sound_row, valid


def measures(clip_id: str, **changes: float | None) -> dict[str, object]:
    base = {scale.measure: 0.0 for scale in SCALES} | {"coverage": 1.0, "pause_share": 0.1, "face_unsure": False}
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


def test_too_few_clips_are_not_compared() -> None:
    """Two clips make no habit, of a group or of all."""
    rows, group_of = [measures("a"), measures("b", pitch=9.0)], {"a": "s", "b": "s"}
    assert cue_words(rows, group_of, "en") == {"a": [], "b": []}
    assert note_small(rows, group_of) == (
        "cue_words: 1 of 1 speakers or scenes have fewer than 4 clips, so their clips are not compared with anything"
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_small_group_is_compared_with_all_clips(language: str) -> None:
    """With the median over all clips, and the words begin with that; a group of four is compared with itself."""
    rows = [*USUAL, *(measures(f"b{at}", pitch=9.0) for at in range(4)), measures("x", pitch=9.0), measures("y")]
    group_of = {str(row["clip_id"]): str(row["clip_id"])[0] for row in rows}
    words_of = cue_words(rows, group_of, language)
    (_, higher) = words_of["x"]
    assert words_of["x"][0] == {"en": "compared with all clips", "zh": "与所有片段相比"}[language]
    assert higher == words(measures("x", pitch=9.0), language)[0]
    assert words_of["b0"] == words_of["y"] == words_of["usual0"] == []
    assert note_small(rows, group_of) == (
        "cue_words: 2 of 4 speakers or scenes have fewer than 4 clips, so their clips are compared with all clips"
    )
    assert note_small(USUAL, dict.fromkeys(words_of, "u")) == ""


def test_the_stage_says_how_many_groups_are_small(tmp_path: Path) -> None:
    """What it writes has the words against all clips, and what it prints has the number."""
    project, rows = Project(tmp_path), [*USUAL, measures("x", pitch=9.0)]
    names = [str(row["clip_id"]) for row in rows]
    write_table(project.table("cues") / shard_name(0), pa.Table.from_pylist(rows))
    said = [{"clip_id": name, "zh": None, "en": "Hello."} for name in names]
    write_table(project.table("transcript") / shard_name(0), pa.Table.from_pylist(said))
    manifest = [{"clip_id": name, "group": name[0], "order": None} for name in names]
    write_table(project.manifest, pa.Table.from_pylist(manifest))
    assert write_context(ByRulesParams(), project).startswith("cue_words: 1 of 2 speakers or scenes have fewer than 4")
    written = {row["clip_id"]: row["words"] for row in read_parquet(project.table("cue_words")).to_pylist()}
    assert written["x"] == ["compared with all clips", "voice much higher than usual"]


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
    request = Request("你好！", "Hello!", ("voice higher",))
    assert describe(request, "en") == "voice higher, an exclamation"
    assert describe(Request("太棒了", None, ("声音偏高",)), "zh") == "声音偏高，用词积极"


def enriched(stage: Enrich, **tables: Row | None) -> Row:
    """The row of a clip with these tables."""
    (row,) = stage.infer([stage.prepare(clip(**tables))])
    assert not isinstance(row, Skip)
    return row


@pytest.mark.outcome("no or NaN subtitle", "the enriched text has the measured cues only")
def test_enrichment_without_words_or_without_cues() -> None:
    """Either alone is enough; without both there is nothing to say."""
    stage = Enrich(ByRulesParams(), MER_CLASSES)
    row = enriched(stage, transcript={"valid": False, "reason": "no subtitle"}, cue_words={"words": ["very loud"]})
    assert (row["text"], row["status"]) == ("[very loud]", "no subtitle")
    assert enriched(stage, transcript=valid(zh=None, en="Hello."), cue_words=None)["text"] == "Hello."
    with pytest.raises(Skip):
        stage.prepare(clip(transcript=None, cue_words=None))


MODEL = ByServerParams(backend="openai", model="m")
REPLY = {
    "meaning": "A greeting.",
    "cues": [{"words": "Hello", "cue": "friendly"}, {"words": "Goodbye", "cue": "cold"}],
    "context": "They meet.",
    "intensity": 30,
    "scores": {"neutral": 30, "angry": 0, "happy": 90, "sad": 0, "worried": 0, "surprise": 0},
    "enriched_text": "Said warmly.",
}


def replied(**changes: object) -> Row:
    """A row of data/replies."""
    return valid(raw=[json.dumps(REPLY)], status="ok", why=None) | changes


def test_a_reply_becomes_text_scores_and_cues() -> None:
    """The words stand unchanged before what the model wrote; scores sum to 1; cues rest on words that were said."""
    row = enriched(
        Enrich(MODEL, MER_CLASSES),
        transcript=valid(zh=None, en="Hello."),
        cue_words={"words": ["voice higher"], "before": [], "after": []},
        replies=replied(),
        **{"quarantine/replies": None},
    )
    assert row["text"] == "Hello. [Said warmly.]"
    assert row["scores"] == (0.25, 0.0, 0.75, 0.0, 0.0, 0.0)
    assert row["cues"] == ["voice higher", "Hello: friendly"]
    assert (row["status"], row["intensity"], row["meaning"]) == ("ok", 0.3, "A greeting.")


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({"replies": None, "quarantine/replies": {"message": "no answer: HTTP 503"}}, "no answer: HTTP 503"),
        ({"replies": None, "quarantine/replies": None}, "no reply"),
        (
            {"replies": replied(raw=["no", "no"], status="fallback", why="no JSON"), "quarantine/replies": None},
            "no JSON",
        ),
        ({"replies": {"valid": False, "reason": "too long"}, "quarantine/replies": None}, "too long"),
        ({"replies": replied(raw=["{}"]), "quarantine/replies": None}, '"meaning": Field required'),
    ],
)
def test_without_a_reply_the_plain_words_stand(tables: dict[str, Row | None], why: str) -> None:
    """Status fallback, with the reason; no score is made up."""
    row = enriched(Enrich(MODEL, MER_CLASSES), transcript=valid(zh="你好", en=None), cue_words=None, **tables)
    assert (row["text"], row["status"], row["why"], row["scores"]) == ("你好", "fallback", why, None)


def test_old_answers_are_read_again() -> None:
    """What fits is judged when the text is made: what a stricter parser refused is a reply to a better one."""
    tables = {"replies": replied(raw=["no", json.dumps(REPLY)], status="fallback", why="too strict")}
    row = enriched(
        Enrich(MODEL, MER_CLASSES), transcript=valid(zh="你好", en=None), cue_words=None, **tables,
        **{"quarantine/replies": None},
    )  # fmt: skip
    assert (row["status"], row["text"], row["why"]) == ("repaired", "你好 [Said warmly.]", None)


def test_cues_rest_on_words_as_the_model_saw_them() -> None:
    """A subtitle with a line break, double blanks and accents apart is one line to the model."""
    reply = REPLY | {"cues": [{"words": "déjà so happy", "cue": "joy"}]}
    row = enriched(
        Enrich(MODEL, MER_CLASSES), transcript=valid(zh=None, en="de\u0301ja\u0300\nso   happy"), cue_words=None,
        replies=replied(raw=[json.dumps(reply)]), **{"quarantine/replies": None},
    )  # fmt: skip
    assert row["cues"] == ["déjà so happy: joy"]


def test_cues_alone_are_a_fallback_too() -> None:
    """A clip without words keeps its measured cues where the model fails."""
    tables = {"replies": None, "quarantine/replies": None}
    row = enriched(Enrich(MODEL, MER_CLASSES), transcript=None, cue_words={"words": ["very loud"]}, **tables)
    assert (row["text"], row["status"]) == ("[very loud]", "fallback")


def test_neighbours_are_those_of_the_same_scene_in_its_order() -> None:
    """Clips without an order have none; a silent neighbour is passed over, not looked past."""
    manifest = [{"clip_id": f"{g}{at}", "group": g, "order": float(at)} for g in "ab" for at in range(1, 12)]
    spoken = {str(row["clip_id"]): f"words of {row['clip_id']}" for row in manifest} | {"c": "no order"}
    manifest.append({"clip_id": "c", "group": "a", "order": None})
    del spoken["a9"]
    found = neighbours_of(manifest, spoken, 2)
    assert found["a10"] == Neighbours(("words of a8",), ("words of a11",))  # 10 comes after 9, not after 1
    assert found["a1"] == Neighbours((), ("words of a2", "words of a3"))
    assert "c" not in found
    assert neighbours_of(manifest, spoken, 0) == {}


@pytest.mark.parametrize("up", [1, 2, 3])
def test_brows_that_stand_higher_measure_higher(up: int) -> None:
    """A dark line over each eye, moved up by so many pixels of 160, is found there; skin without one has none."""
    skin = np.full((160, 160, 3), 190, np.uint8)
    assert brow_height(skin) is None

    def drawn(row: int) -> float:
        face = skin.copy()
        face[row : row + 3, 40:120] = 90
        height = brow_height(face)
        assert height is not None
        return height

    assert drawn(66 - up) - drawn(66) == pytest.approx(up / 160, abs=0.1 / 160)


def test_a_face_that_may_be_somebody_elses_gives_no_cue() -> None:
    """Nothing is measured of it, and nobody says that no face is seen."""
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    words = {}
    for reason in (UNSURE, "no face found"):
        faces = {"valid": False, "reason": reason}
        row = MeasureCues().prepare(clip(transcript=None, audio=sound_row(tone), faces=faces))
        assert row["mouth_width"] is None
        words[reason] = cue_words([{**row, "valid": True, "clip_id": "a"}], {"a": "g"}, "en")["a"]
    assert "no face seen" in words["no face found"]
    assert "no face seen" not in words[UNSURE]
