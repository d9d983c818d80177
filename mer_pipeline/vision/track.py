"""Choose one primary face per clip: follow each face over time, and take the track with the largest weight.

Two frames may lie half a second apart. Therefore boxes are linked by the distance of their centres in units of their
size, and not by their overlap. The weight of a track is the sum over its frames of the detector's score times the
side of the box. Thus a large face that stays has more weight than a larger one that passes, and both have more than a
box that was found by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mer_pipeline.vision.detector import Detections, Floats

MAX_MOVE = 1.0  # how far a face's centre may move from one frame to the next that shows it, in sides
MAX_GROWTH = 2.0  # the factor by which its side may change meanwhile


@dataclass
class Track:
    """One face over time.

    Attributes:
        frames: indices of the frames that show the face, ascending.
        picks: for each of these frames, the index of the face among the frame's detections.
        weight: Σ score × side over these frames, in pixels.
        box: (4,) float32, the face's box in the last of these frames: left, top, right, bottom in pixels.
    """

    frames: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    weight: float = 0.0
    box: Floats = field(default_factory=lambda: np.zeros(4, np.float32))

    def distance(self, box: Floats) -> float:
        """Return the distance from this face's last box to another box, in units of the larger one's side.

        It is infinite if the box moved or changed its size too much to be the same face.
        """
        sides = side(self.box), side(box)
        if max(sides) > MAX_GROWTH * min(sides):
            return float("inf")
        move = float(np.hypot(*(centre(self.box) - centre(box)))) / max(sides)
        return move if move <= MAX_MOVE else float("inf")


def primary_track(detections: Sequence[Detections], min_score: float) -> Track | None:
    """Choose the primary face of a clip.

    In each frame, detections are linked to tracks by distance, the nearest pair first, and each detection to at most
    one track. If distances are equal, the earlier track is linked first. Thus the result depends on the detections
    only.

    Args:
        detections: the faces of each frame, in the order of time.
        min_score: detections with a lower score are ignored.

    Returns:
        The track with the largest weight, or None if no detection reaches `min_score`.
    """
    tracks: list[Track] = []
    for at, found in enumerate(detections):
        order = np.argsort(-found.scores, kind="stable")
        free = [int(i) for i in order if found.scores[i] >= min_score and side(found.boxes[i]) > 0]
        links = sorted((track.distance(found.boxes[i]), t, i) for t, track in enumerate(tracks) for i in free)
        taken: set[int] = set()
        for distance, t, i in links:
            if np.isfinite(distance) and t not in taken and i in free:
                taken.add(t)
                free.remove(i)
                _extend(tracks[t], at, i, found)
        for i in free:
            tracks.append(Track())
            _extend(tracks[-1], at, i, found)
    return max(tracks, key=lambda track: track.weight, default=None)


def _extend(track: Track, frame: int, pick: int, found: Detections) -> None:
    track.frames.append(frame)
    track.picks.append(pick)
    track.box = found.boxes[pick]
    track.weight += float(found.scores[pick]) * side(track.box)


def side(box: Floats) -> float:
    """Return the geometric mean of a box's width and height in pixels, which is 0 for an empty box.

    Example:
        >>> side(np.array([10, 10, 14, 19], np.float32))
        6.0
    """
    return float(np.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])))


def centre(box: Floats) -> Floats:
    """Return x and y of a box's centre in pixels: (2,) float32."""
    return (box[:2] + box[2:]) / np.float32(2)
