"""The step `tracks`: find all faces of a clip, follow each through its shots, and crop each from the full picture.

    video ─► shots ─► faces in each searched picture ─► tracks within shots ─► people ─► crops, motion of mouths

This is the expensive half of the stage `faces`. Which person is the primary one is decided after it (faces.py), so that
another choice detects nothing again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import BadInput, ClipError, Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.media import jpeg
from mer_pipeline.media.container import listed_content
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.vision.align import Picture, align
from mer_pipeline.vision.detector import Detections, FaceParams, Floats, make_detector
from mer_pipeline.vision.footage import Footage, from_frames, from_video
from mer_pipeline.vision.frames import Frames
from mer_pipeline.vision.looks import make_looks
from mer_pipeline.vision.mouth import FREQUENCIES, Motion, follow
from mer_pipeline.vision.shots import camera_shift
from mer_pipeline.vision.track import Track, follow_faces, link_people, side

if TYPE_CHECKING:
    import torch

PERSON = pa.struct(
    [
        pa.field("frame_index", pa.list_(pa.int32())),  # the clip's frames that show the person
        pa.field("times", pa.list_(pa.float64())),  # seconds
        pa.field("crops", pa.list_(pa.binary())),
        pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4))),  # pixels of the stored frame
        pa.field("landmarks", pa.list_(pa.list_(pa.float32(), 10))),
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("shown", pa.float32()),  # share of the searched pictures that show the person
        pa.field("side", pa.float32()),  # median side of the face, as a share of the picture's longer side
        pa.field("sharpness", pa.float32()),  # mean difference of neighbouring pixels of the crops, by their contrast
        pa.field("motion_times", pa.list_(pa.float64())),  # seconds
        pa.field("mouth", pa.list_(pa.float32())),  # see mouth.Motion
        pa.field("upper", pa.list_(pa.float32())),
        pa.field("mouth_shape", pa.list_(pa.list_(pa.float32(), FREQUENCIES**2))),
    ]
)


@dataclass(frozen=True)
class Person:
    """One person of a clip, as the table `tracks` has it.

    Attributes:
        row: the columns of PERSON.
        shown, side, sharpness: as there.
        motion: of the mouth.
    """

    row: Row
    shown: float
    side: float
    sharpness: float
    motion: Motion

    @classmethod
    def of(cls, row: Row) -> Person:
        """Read the columns of a person."""
        return cls(
            row,
            row["shown"],  # type: ignore[arg-type]  # typed by PERSON, as are the others
            row["side"],  # type: ignore[arg-type]
            row["sharpness"],  # type: ignore[arg-type]
            Motion(
                np.array(row["motion_times"], np.float64),
                np.array(row["mouth"], np.float32),
                np.array(row["upper"], np.float32),
                np.array(row["mouth_shape"], np.float32).reshape(-1, FREQUENCIES**2),
            ),
        )


class FollowFaces(Transform[Footage]):
    """The transform from a video to the people in it."""

    name = "tracks"
    uses_torch = True
    decodes = True
    sources = (
        Source("manifest", ("video_sha256", "fps", "duration"), locators=("video",)),
        Source("frames", ("jpegs", "times")),
    )
    schema = pa.schema(
        [
            pa.field("frames", pa.int32()),  # how many the clip has
            pa.field("cuts", pa.list_(pa.float64())),  # seconds, of the first picture of each shot but the first
            pa.field("people", pa.list_(PERSON)),
            # All boxes that the detector gave in the clip's frames, in pixels of the stored frame.
            pa.field(
                "candidates",
                pa.list_(
                    pa.struct([("frame", pa.int32()), ("box", pa.list_(pa.float32(), 4)), ("score", pa.float32())])
                ),
            ),
        ]
    )

    def __init__(self, params: FaceParams, root: Path) -> None:
        self.params: FaceParams = params.without_choice()  # another choice must not detect again
        self.root = root
        self.detector = make_detector(self.params)
        self.looks = make_looks(self.params.checkpoint)

    def files(self) -> Sequence[Path]:
        """The files with the weights of the detector and of the face network."""
        return [*self.detector.files(), *self.looks.files()]

    def setup(self, device: torch.device) -> None:
        """Load the detector and the face network to a device."""
        self.detector.setup(device)
        self.looks.setup(device)

    def media(self, clip: Clip) -> Sequence[Path]:
        """Return the video, if there is one."""
        video = clip.need("manifest")["video"]
        return () if video is None else (self.root / str(video),)

    def given_up(self, clip: Clip, error: ClipError) -> Footage:
        """Return the stored frames, if the video is to blame.

        Raises:
            Transient: `error`, if it need not be.
        """
        if not isinstance(error, BadInput):
            raise error
        return from_frames(Frames.of(clip.need("frames")), self.params.detect_side)

    def prepare(self, clip: Clip) -> Footage:
        """Decode the clip once more, and keep what `Footage` has."""
        row, frames = clip.need("manifest"), Frames.of(clip.need("frames"))
        if row["video"] is None:
            return from_frames(frames, self.params.detect_side)
        path = self.root / str(row["video"])
        stamps: list[npt.NDArray[np.float64]] = []

        def every(times: npt.NDArray[np.float64], end: float) -> npt.NDArray[np.int64]:
            del end
            stamps.append(times)
            return np.arange(len(times))

        with listed_content(path, row["video_sha256"]):
            try:
                decoded = read_pictures(path, every, fps=row["fps"], duration=row["duration"])  # type: ignore[arg-type]
                return from_video(decoded, stamps, frames, self.params.detect_side)
            except BadInput:  # the stored frames did decode
                return from_frames(frames, self.params.detect_side)

    def infer(self, items: Sequence[Footage]) -> list[Row | Skip]:
        """Find the people of each clip. The detector is called once per clip, or per size of its pictures."""
        return [self._people(footage) for footage in items]

    def _detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        """The faces of each picture, in units of its longer side."""
        detections = [Detections.none()] * len(pictures)
        for shape in dict.fromkeys(picture.shape for picture in pictures):
            alike = [at for at, picture in enumerate(pictures) if picture.shape == shape]
            found = self.detector.detect(np.stack([pictures[at] for at in alike]))
            for at, faces in zip(alike, found, strict=True):
                detections[at] = faces.scaled(1 / max(shape))
        return detections

    def _people(self, footage: Footage) -> Row | Skip:
        detections = self._detect(footage.searched)
        looks = [
            self.looks.of(picture, found.landmarks * np.float32(max(picture.shape)))
            for picture, found in zip(footage.searched, detections, strict=True)
        ]
        shots = [int(np.searchsorted(footage.cuts, time, side="right")) for time in footage.times]
        camera = _camera(footage, shots)
        tracks = follow_faces(detections, looks, shots, camera, self.params.min_score, self.looks.other)
        people = [self._person(footage, detections, person) for person in link_people(tracks, self.looks.same)]
        if not any(person["crops"] for person in people):
            return Skip("no face found")
        return {
            "frames": len(footage.pictures),
            "cuts": footage.cuts,
            "people": people,
            "candidates": [
                {"frame": frame, "box": (box * max(footage.sizes[frame])).tolist(), "score": float(score)}
                for frame, found in zip(footage.frame_of, detections, strict=True)
                if frame >= 0
                for box, score in zip(found.boxes, found.scores, strict=True)
            ],
        }

    def _person(self, footage: Footage, detections: Sequence[Detections], tracks: Sequence[Track]) -> dict[str, object]:
        seen = [(at, pick) for track in tracks for at, pick in zip(track.at, track.picks, strict=True)]
        in_frames = [(footage.frame_of[at], at, pick) for at, pick in seen if footage.frame_of[at] >= 0]
        crops = []
        for frame, at, pick in in_frames:
            picture = footage.pictures[frame]
            points = detections[at].landmarks[pick] * np.float32(max(picture.shape))
            crops.append(align(picture, points, self.params.size, self.params.margin))
        motions = [_motion(footage, detections, track) for track in tracks]
        boxes = [detections[at].boxes[pick] for at, pick in seen]
        faces = [(detections[at], pick, np.float32(max(footage.sizes[frame]))) for frame, at, pick in in_frames]
        return {
            "frame_index": [frame for frame, *_ in in_frames],
            "times": [footage.times[at] for _, at, _ in in_frames],
            "crops": [jpeg.encode(crop, self.params.jpeg_quality) for crop in crops],
            "boxes": [found.boxes[pick] * size for found, pick, size in faces],
            "landmarks": [found.landmarks[pick].ravel() * size for found, pick, size in faces],
            "scores": [float(found.scores[pick]) for found, pick, _ in faces],
            "shown": len(seen) / len(footage.times),
            "side": float(np.median([side(box) for box in boxes])),
            "sharpness": float(np.median([_sharpness(crop) for crop in crops])) if crops else 0.0,
            "motion_times": np.concatenate([motion.times for motion in motions]),
            "mouth": np.concatenate([motion.mouth for motion in motions]),
            "upper": np.concatenate([motion.upper for motion in motions]),
            "mouth_shape": list(np.concatenate([motion.shape for motion in motions])),
        }


def _camera(footage: Footage, shots: Sequence[int]) -> Floats:
    """Where the scene has moved since the start, at each searched picture, in units of the longer side."""
    edges = [-np.inf, *footage.cuts, np.inf]
    moved, places = np.zeros(2), [np.zeros(2)]
    for at in range(1, len(footage.greys)):
        before, after = footage.greys[at - 1 : at + 1]
        cut = bool(np.diff(np.searchsorted(edges, footage.grey_times[at - 1 : at + 1], side="right"))[0])
        if before.shape == after.shape and not cut:
            moved = moved + np.array(camera_shift(before, after)) / max(after.shape)
        places.append(moved)
    if not footage.greys:
        return np.zeros((len(shots), 2), np.float32)
    columns = np.stack(places).T
    return np.stack([np.interp(footage.times, footage.grey_times, column) for column in columns], 1).astype(np.float32)


def _motion(footage: Footage, detections: Sequence[Detections], track: Track) -> Motion:
    edges = [-np.inf, *footage.cuts, np.inf]
    return follow(
        footage.greys,
        np.array(footage.grey_times),
        np.array([footage.times[at] for at in track.at]),
        np.stack([detections[at].landmarks[pick] for at, pick in zip(track.at, track.picks, strict=True)]),
        edges[track.shot],
        edges[track.shot + 1],
    )


def _sharpness(crop: Picture) -> float:
    grey = crop.mean(axis=2)
    return float(np.mean([np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)]) / max(float(grey.std()), 1.0))
