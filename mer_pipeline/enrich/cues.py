"""The stage `cues`: measure voice and face, and put the measures into words.

The measures of a clip are numbers that depend on this clip alone (`MeasureCues`). A comparison with what is usual for
the group, its habit, depends on other clips too. It is put into coarse words (`cue_words`), so that a new clip of a
group rarely changes the words of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.media import jpeg
from mer_pipeline.speech.logmel import prosody, semitones
from mer_pipeline.speech.track import Sound, dbfs
from mer_pipeline.vision.faces import UNSURE, Faces
from mer_pipeline.vision.geometry import brow_height, head_motion, shape

# The habit of a group is the median over its clips. With fewer clips than this, it is the median over all clips, and
# with fewer clips in all, nothing is compared.
MIN_GROUP = 4


@dataclass(frozen=True)
class Scale:
    """How the difference between a measure and the group's habit is put into words.

    Attributes:
        measure: a column of MeasureCues.schema.
        clear: the smallest difference that is put into words, in the unit of the measure.
        strong: the smallest difference that has the stronger words.
        words: for each language, the words for much less, less, more and much more than the habit.
    """

    measure: str
    clear: float
    strong: float
    words: Mapping[str, tuple[str, str, str, str]]


SCALES = (
    Scale("pitch", 1.5, 4.0, {  # semitones
        "en": ("voice much lower than usual", "voice lower", "voice higher", "voice much higher than usual"),
        "zh": ("声音比平时低很多", "声音偏低", "声音偏高", "声音比平时高很多"),
    }),
    Scale("pitch_range", 0.8, 2.0, {  # semitones
        "en": ("monotonous", "rather even melody", "lively melody", "very lively melody"),
        "zh": ("语调平板", "语调较平", "语调起伏", "语调大起大落"),
    }),
    Scale("loudness", 3.0, 7.0, {  # dB
        "en": ("very quiet", "quieter", "louder", "very loud"),
        "zh": ("声音很轻", "声音较轻", "声音较大", "声音很大"),
    }),
    Scale("pace", 0.6, 1.5, {  # syllables a second
        "en": ("very slow speech", "slower speech", "faster speech", "very fast speech"),
        "zh": ("语速很慢", "语速较慢", "语速较快", "语速很快"),
    }),
    Scale("pause_share", 0.08, 0.2, {
        "en": ("hardly any pauses", "fewer pauses", "more pauses", "many pauses"),
        "zh": ("几乎没有停顿", "停顿较少", "停顿较多", "停顿很多"),
    }),
    Scale("mouth_width", 0.05, 0.12, {  # eye distances
        "en": ("mouth drawn together", "mouth narrower", "mouth wider", "mouth stretched wide"),
        "zh": ("嘴收得很紧", "嘴较收", "嘴较宽", "嘴咧得很开"),
    }),
    Scale("face_length", 0.05, 0.12, {  # eye distances
        "en": ("chin raised", "mouth closed", "mouth open", "jaw dropped"),
        "zh": ("下巴上收", "嘴闭合", "嘴张开", "嘴张得很大"),
    }),
    Scale("brow_height", 0.008, 0.02, {  # crop sides
        "en": ("brows pulled down", "brows lower", "brows higher", "brows raised"),
        "zh": ("眉毛紧压", "眉毛偏低", "眉毛偏高", "眉毛扬起"),
    }),
    Scale("head_motion", 0.04, 0.12, {  # face sizes a step
        "en": ("head quite still", "head calmer", "head moving", "head moving strongly"),
        "zh": ("头几乎不动", "头较稳", "头在动", "头动得厉害"),
    }),
)  # fmt: skip

PARTLY = {"en": "face seen part of the time", "zh": "脸部只有部分可见"}
UNSEEN = {"en": "no face seen", "zh": "看不到脸"}
UNHEARD = {"en": "no voice heard", "zh": "听不到声音"}
AGAINST_ALL = {"en": "compared with all clips", "zh": "与所有片段相比"}  # before the words of a clip of a small group


class MeasureCues(Transform[Row]):
    """The transform from the sound and the faces of a clip to a few measures. `prepare` does all the work."""

    name = "cues"
    sources = (
        Source("transcript", ("zh", "en")),
        Source("audio", ("pcm",)),
        Source("faces", ("crops", "times", "boxes", "landmarks", "coverage")),
    )
    schema = pa.schema(
        [
            pa.field("pitch", pa.float32()),  # median, in semitones above 55 Hz; null if nothing is voiced
            pa.field("pitch_range", pa.float32()),  # standard deviation, in semitones
            pa.field("loudness", pa.float32()),  # of the frames with sound, in dBFS
            pa.field("pace", pa.float32()),  # syllables a second
            pa.field("pause_share", pa.float32()),
            pa.field("coverage", pa.float32()),  # share of the frames that show the primary face
            pa.field("face_unsure", pa.bool_()),  # whether faces are seen, but it is unsure whose they are
            pa.field("mouth_width", pa.float32()),  # mean, in distances between the eyes
            pa.field("face_length", pa.float32()),  # mean from eyes to mouth, in the same unit
            pa.field("brow_height", pa.float32()),  # mean height of the brows, in sides of the aligned crop
            pa.field("head_motion", pa.float32()),  # mean move from frame to frame, in face sizes
        ]
    )

    params = Section()  # none: the measures do not depend on the language or the backend

    def prepare(self, clip: Clip) -> Row:
        """Measure voice and face. Measures of what is absent are null.

        Raises:
            Skip: if the clip has neither sound nor a face.
        """
        audio, face = clip.maybe("audio"), clip.maybe("faces")
        if audio is None and face is None:
            raise Skip("neither sound nor face")
        row: dict[str, float | bool | None] = dict.fromkeys(self.schema.names)
        shown = clip.rows["faces"]
        row["face_unsure"] = shown is not None and face is None and shown["reason"] == UNSURE
        if audio is not None:
            row |= _voice(Sound.of(audio))
        if face is not None:
            row |= _face(Faces.of(face))
        return row

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)


def _voice(sound: Sound) -> dict[str, float | None]:
    voice = prosody(sound.samples)
    tones = semitones(voice.pitch[voice.voiced])
    return {
        "pitch": float(np.median(tones)) if tones.size else None,
        "pitch_range": float(tones.std()) if tones.size else None,
        "loudness": float(voice.level[voice.sounding].mean()) if voice.sounding.any() else dbfs(sound.samples),
        "pace": voice.pace,
        "pause_share": voice.pause_share,
    }


def _face(faces: Faces) -> dict[str, float | None]:
    if not faces.is_measured:
        return {"coverage": faces.coverage}
    shapes = np.stack([shape(points) for points in faces.landmarks])
    motion = head_motion(faces)
    brows = [height for crop in faces.crops if (height := brow_height(jpeg.decode(crop))) is not None]
    return {
        "coverage": faces.coverage,
        "mouth_width": float(shapes[:, 10].mean()),
        "face_length": float(shapes[:, 11].mean()),
        "brow_height": float(np.mean(brows)) if brows else None,
        "head_motion": float(np.hypot(motion[0], motion[1])),
    }


def cue_words(
    measures: Sequence[Row], group_of: Mapping[str, str], language: str, population: Sequence[Row] | None = None
) -> dict[str, list[str]]:
    """Put the measures of each clip into words, by comparison with the habit of its group.

    A clip of a group with too few clips is compared with all clips, and its words begin with a note of that.

    Args:
        measures: rows of the table `cues`.
        group_of: the group of each clip.
        language: "en" or "zh".
        population: rows of the table `cues` of all clips that a clip of a small group is compared with; None: those of
            `measures`.

    Returns:
        For each clip its cue words, in a fixed order. Clips without measures are not in it.
    """
    valid = [row for row in measures if row["valid"]]
    groups = _groups(valid, group_of)
    usual = _habits(valid if population is None else [row for row in population if row["valid"]])
    small = {group for group, rows in groups.items() if len(rows) < MIN_GROUP}
    habits = {group: usual if group in small else _habits(rows) for group, rows in groups.items()}
    words = {}
    for row in valid:
        clip_id = str(row["clip_id"])
        group = group_of[clip_id]
        compared = [_word(scale, row[scale.measure], habits[group][scale.measure], language) for scale in SCALES]
        named = [word for word in compared if word is not None]
        against = [AGAINST_ALL[language]] if named and group in small else []
        coverage = row["coverage"]
        seen = UNSEEN[language] if coverage is None else PARTLY[language] if float(str(coverage)) < 0.7 else None
        seen = None if row["face_unsure"] else seen
        heard = UNHEARD[language] if row["loudness"] is None else None
        words[clip_id] = [*against, *named, *(word for word in (seen, heard) if word is not None)]
    return words


def note_small(measures: Sequence[Row], group_of: Mapping[str, str]) -> str:
    """Return a sentence on how many groups have too few clips for a habit of their own; "" if none has.

    Args:
        measures: rows of the table `cues`.
        group_of: the group of each clip.
    """
    valid = [row for row in measures if row["valid"]]
    groups = _groups(valid, group_of)
    small = sum(len(rows) < MIN_GROUP for rows in groups.values())
    if not small:
        return ""
    instead = "compared with all clips" if len(valid) >= MIN_GROUP else "not compared with anything"
    few = f"{small} of {len(groups)} speakers or scenes have fewer than {MIN_GROUP} clips"
    return f"cue_words: {few}, so their clips are {instead}"


def _groups(valid: Sequence[Row], group_of: Mapping[str, str]) -> dict[str, list[Row]]:
    members: dict[str, list[Row]] = {}
    for row in valid:
        members.setdefault(group_of[str(row["clip_id"])], []).append(row)
    return members


def _habits(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return what is usual in some clips, for each measure."""
    return {scale.measure: _habit(rows, scale.measure) for scale in SCALES}


def _habit(rows: Sequence[Row], measure: str) -> float | None:
    values = [float(str(row[measure])) for row in rows if row[measure] is not None]
    return float(np.median(values)) if len(values) >= MIN_GROUP else None


def _word(scale: Scale, value: object, habit: float | None, language: str) -> str | None:
    if value is None or habit is None:
        return None
    difference = float(str(value)) - habit
    size = (abs(difference) >= scale.clear) + (abs(difference) >= scale.strong)
    if size == 0:
        return None
    less_strong, less, more, more_strong = scale.words[language]
    return {(-1, 2): less_strong, (-1, 1): less, (1, 1): more, (1, 2): more_strong}[int(np.sign(difference)), size]
