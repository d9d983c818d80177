"""The step `faces`: choose the primary face of a clip among the people in it.

`faces.primary` says who it is: the speaker (speaker.py), the person who is largest for longest, or the one of
the others who is. The crops are those of the table `tracks`, so that another choice detects nothing
again. Where it is too unsure that the chosen person is the speaker (or the listener), there is no primary face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.vision.detector import Floats, PrimaryParams
from mer_pipeline.vision.frames import Frames
from mer_pipeline.vision.speaker import confidence, evidence
from mer_pipeline.vision.tracks import FollowFaces, Person

UNSURE = "unsure whose face it is (faces.min_confidence)"


@dataclass(frozen=True)
class Faces:
    """A clip's row of the table `faces`: the primary face, once for each frame that shows it.

    Attributes:
        crops: the square crops, as JPEG.
        times: presentation times in seconds.
        boxes: (faces, 4) float32: left, top, right, bottom in pixels of the frame.
        landmarks: (faces, 5, 2) float32: x and y in pixels of the frame, in the order of `Detections`.
        coverage: share of the clip's frames that show the primary face.
    """

    crops: Sequence[bytes]
    times: Sequence[float]
    boxes: Floats
    landmarks: Floats
    coverage: float

    @property
    def is_measured(self) -> bool:
        """Whether boxes and landmarks are known; faces that others cut out come without."""
        return bool(np.isfinite(self.landmarks).all())

    @classmethod
    def of(cls, row: Row) -> Faces:
        """Read the columns of a row."""
        return cls(
            row["crops"],  # type: ignore[arg-type]  # typed by ChooseFace.schema, as are the others
            row["times"],  # type: ignore[arg-type]
            np.array(row["boxes"], np.float32).reshape(-1, 4),
            np.array(row["landmarks"], np.float32).reshape(-1, 5, 2),
            row["coverage"],  # type: ignore[arg-type]
        )


def pictures_of(clip: Clip, table: str) -> Sequence[bytes]:
    """Return a clip's frames or face crops as JPEG bytes.

    Args:
        clip: the clip, with its row of that table.
        table: "frames" or "faces".

    Raises:
        Skip: if the clip has none.
    """
    row = clip.need(table)
    return Faces.of(row).crops if table == "faces" else Frames.of(row).jpegs


def times_of(clip: Clip, table: str) -> Sequence[float]:
    """Return the presentation times of a clip's frames or face crops, in seconds; as `pictures_of`."""
    row = clip.need(table)
    return Faces.of(row).times if table == "faces" else Frames.of(row).times


class ChooseFace(Transform[Row | Skip]):
    """The transform from the people of a clip to its primary face. `prepare` does all the work."""

    name = "faces"
    sources = (Source("tracks", ("frames", "people", "candidates")), Source("audio", ("pcm",)))
    schema = pa.schema(
        [
            pa.field("crops", pa.list_(pa.binary())),
            pa.field("times", pa.list_(pa.float64())),
            pa.field("frame_index", pa.list_(pa.int32())),  # which of the clip's frames each crop is from
            pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            pa.field("landmarks", pa.list_(pa.list_(pa.float32(), 10))),
            pa.field("scores", pa.list_(pa.float32())),
            pa.field("coverage", pa.float32()),
            pa.field("speaker_confidence", pa.float32()),  # in [0, 1]: how sure it is that this person speaks
            # All boxes that the detector gave, also those of other faces and with low scores.
            FollowFaces.schema.field("candidates"),
        ]
    )

    def __init__(self, params: PrimaryParams) -> None:
        self.params: PrimaryParams = params

    def prepare(self, clip: Clip) -> Row | Skip:
        """Weigh the evidence, choose a person and copy their crops."""
        row, audio = clip.need("tracks"), clip.maybe("audio")
        rows: Sequence[Row] = row["people"]  # type: ignore[assignment]  # typed by FollowFaces.schema
        people = [Person.of(person) for person in rows]
        sound = None
        if audio is not None:
            sound = np.frombuffer(audio["pcm"], "<i2").astype(np.float32) / np.float32(2**15)  # type: ignore[call-overload]
        chosen, speaks, sure = choose(people, sound, self.params.primary)
        if sure < self.params.min_confidence:
            return Skip(UNSURE)
        person = people[chosen].row
        kept = ("crops", "times", "frame_index", "boxes", "landmarks", "scores")
        return {
            **{name: person[name] for name in kept},
            "coverage": len(people[chosen].row["times"]) / row["frames"],  # type: ignore[arg-type, operator]
            "speaker_confidence": speaks,
            "candidates": row["candidates"],
        }

    def infer(self, items: Sequence[Row | Skip]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)


def choose(people: Sequence[Person], sound: Floats | None, primary: str) -> tuple[int, float, float]:
    """Choose a person.

    Args:
        people: of one clip.
        sound: (samples,) float32 at 16 kHz; None if there is none.
        primary: "speaker", "largest" or "listener".

    Returns:
        Which person; how sure it is that this person speaks, from 0 to 1; and how sure the choice is: the same for the
        speaker, what is left of 1 for the listener, and 1 for the largest.
    """
    found = evidence(people, sound)
    there = [at for at, person in enumerate(people) if person.row["crops"]]
    seen = [person.side * len(person.row["times"]) for person in people]  # type: ignore[arg-type]
    speaks = [confidence(found, at) for at in range(len(people))]
    speaker = max(there, key=lambda one: found[one].score)
    if primary == "largest":
        at = max(there, key=lambda one: seen[one])
        return at, speaks[at], 1.0
    if primary == "listener":
        others = [at for at in there if at != speaker] or there
        at = max(others, key=lambda one: seen[one])
        return at, speaks[at], 1 - speaks[at]
    return speaker, speaks[speaker], speaks[speaker]
