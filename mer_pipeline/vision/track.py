"""Follow faces over time: tracks within a shot, and people over all shots of a clip.

Within a shot two pictures may lie half a second apart. Therefore a face is linked to the next by the distance of the
centres in units of their size, and not by the overlap of the boxes; and by what it looks like. The distance is taken
both as it is and with the camera's motion taken off, because the camera may follow a face or move past it.

A track ends at a cut. Tracks of different shots are one person's if they look alike; two faces that were seen at the
same time never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mer_pipeline.vision.detector import Detections, Floats
from mer_pipeline.vision.looks import mean_look, unlike

MAX_MOVE = 1.0  # how far a face's centre may move from one picture to the next that shows it, in sides
MAX_GROWTH = 2.0  # the factor by which its side may change meanwhile
LOOKS = 0.5  # sides of distance that count as much as being unlike by 1


@dataclass
class Track:
    """One face over time, within a shot.

    Attributes:
        shot: number of the shot.
        at: indices of the searched pictures that show the face, ascending.
        picks: for each of these, the index of the face among the picture's detections.
        looks: for each of these, what the face looks like.
        box: (4,) float32, the face's box in the last of these pictures.
        best: the highest score of the detector.
    """

    shot: int
    at: list[int] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    looks: list[Floats] = field(default_factory=list)
    box: Floats = field(default_factory=lambda: np.zeros(4, np.float32))
    best: float = 0.0

    def distance(self, box: Floats, look: Floats, drift: Floats, other: float) -> float:
        """Return how far another face is from this one's last, in sides of the larger box; looks add to it.

        It is infinite if the box moved or changed its size too much, or looks too different, to be the same face.
        """
        sides = side(self.box), side(box)
        if max(sides) > MAX_GROWTH * min(sides):
            return float("inf")
        step = centre(box) - centre(self.box)
        move = min(float(np.hypot(*step)), float(np.hypot(*(step - drift)))) / max(sides)
        apart = unlike(self.looks[-1], look)
        return move + LOOKS * apart if move <= MAX_MOVE and apart <= other else float("inf")

    def add(self, at: int, pick: int, found: Detections, look: Floats) -> None:
        """Extend the track by a detection."""
        self.at.append(at)
        self.picks.append(pick)
        self.looks.append(look)
        self.box = found.boxes[pick]
        self.best = max(self.best, float(found.scores[pick]))


def follow_faces(
    detections: Sequence[Detections],
    looks: Sequence[Sequence[Floats]],
    shots: Sequence[int],
    camera: Floats,
    min_score: float,
    other: float,
) -> list[Track]:
    """Link detections to tracks.

    In each picture the nearest pair of track and detection is linked first, and each detection to at most one track.
    If distances are equal, the earlier track is linked first. Thus the result depends on the arguments only.

    Args:
        detections: the faces of each searched picture, in the order of time, all in one unit of length.
        looks: for each picture, what each of its faces looks like (`Looks.of`).
        shots: for each picture, the number of its shot, ascending.
        camera: (pictures, 2) float32: where the scene has moved since the first picture of the shot.
        min_score: a track has at least one detection of this score; the others may have any.
        other: as `Looks` has it.
    """
    tracks: list[Track] = []
    for at, found in enumerate(detections):
        order = np.argsort(-found.scores, kind="stable")
        free = [int(i) for i in order if side(found.boxes[i]) > 0]
        open_tracks = [track for track in tracks if track.shot == shots[at]]
        links = sorted(
            (track.distance(found.boxes[i], looks[at][i], camera[at] - camera[track.at[-1]], other), t, i)
            for t, track in enumerate(open_tracks)
            for i in free
        )
        taken: set[int] = set()
        for distance, t, i in links:
            if np.isfinite(distance) and t not in taken and i in free:
                taken.add(t)
                free.remove(i)
                open_tracks[t].add(at, i, found, looks[at][i])
        for i in free:
            tracks.append(Track(shots[at]))
            tracks[-1].add(at, i, found, looks[at][i])
    return [track for track in tracks if track.best >= min_score]


def link_people(tracks: Sequence[Track], same: float) -> list[list[Track]]:
    """Put the tracks of one person together, over all shots.

    The two groups that look most alike are joined first, until no two are alike enough. Groups that have a picture in
    common are two people.

    Args:
        tracks: of all shots.
        same: as `Looks` has it.

    Returns:
        The tracks of each person in the order of time; people in the order in which they are first seen.
    """
    people = [[track] for track in tracks]
    while True:
        pairs = [
            (unlike(_look(one), _look(other)), a, b)
            for a, one in enumerate(people)
            for b, other in enumerate(people[:a])
            if not _pictures(one) & _pictures(other)
        ]
        apart, a, b = min(pairs, default=(float("inf"), 0, 0))
        if apart > same:
            return sorted(people, key=lambda person: (person[0].at[0], person[0].picks[0]))
        joined = sorted([*people[a], *people[b]], key=lambda track: track.at[0])
        people = [person for at, person in enumerate(people) if at not in (a, b)] + [joined]


def _look(person: Sequence[Track]) -> Floats:
    return mean_look([look for track in person for look in track.looks])


def _pictures(person: Sequence[Track]) -> set[int]:
    return {at for track in person for at in track.at}


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
