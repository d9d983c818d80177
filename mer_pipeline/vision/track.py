"""One primary face per clip: follow faces over time and take the track with the most size × score.

Frames may lie half a second apart, so boxes are linked by the distance of their centres in units of their
size rather than by overlap. A track's weight sums, over its frames, the detector's score times the side of
the box: a large face that stays beats a larger one that passes, and both beat a spurious box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mer_pipeline.vision.detector import Detections, Floats

MAX_MOVE = 1.0  # sides of the face that its centre may move from one frame to the next that shows it
MAX_GROWTH = 2.0  # factor by which its side may change meanwhile


@dataclass
class Track:
    """One face over time.

    Attributes:
        frames: indices of the frames that show it, ascending.
        picks: for each, which of that frame's detections it is.
        weight: Σ score × side, in pixels.
    """

    frames: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    weight: float = 0.0
    box: Floats = field(default_factory=lambda: np.zeros(4, np.float32))

    def distance(self, box: Floats) -> float:
        """How far a box is from this face's last place, in sides; infinite if it cannot be the same face."""
        sides = side(self.box), side(box)
        if max(sides) > MAX_GROWTH * min(sides):
            return float("inf")
        move = float(np.hypot(*(centre(self.box) - centre(box)))) / max(sides)
        return move if move <= MAX_MOVE else float("inf")


def primary_track(detections: Sequence[Detections], min_score: float) -> Track | None:
    """The clip's primary face, or None where no detection reaches `min_score`.

    Links are made nearest first, each detection to at most one track; ties go to the earlier track
    and the higher-scored detection, so the answer does not depend on anything but the boxes.
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
    """Geometric mean of a box's width and height in pixels; 0 for an empty box."""
    return float(np.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])))


def centre(box: Floats) -> Floats:
    """(2,) x and y."""
    return (box[:2] + box[2:]) / np.float32(2)
