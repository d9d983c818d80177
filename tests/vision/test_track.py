"""Facts about tracks within a shot, and about people over several."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.vision.detector import Detections
from mer_pipeline.vision.looks import Described
from mer_pipeline.vision.track import Track, follow_faces, link_people

Face = tuple[float, float, float, float]  # x and y of the centre, side, score
SOMEBODY, ANOTHER = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def found(*faces: Face) -> Detections:
    """Detections of square faces."""
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s, _ in faces], np.float32).reshape(-1, 4)
    scores = np.array([score for *_, score in faces], np.float32)
    return Detections(boxes, scores, np.zeros((len(faces), 5, 2), np.float32))


def follow(
    frames: list[Detections],
    shots: list[int] | None = None,
    camera: list[tuple[float, float]] | None = None,
    looks: list[list[np.ndarray]] | None = None,
) -> list[Track]:
    """Tracks of faces that all look alike, in one shot, where nothing else is said."""
    return follow_faces(
        frames,
        looks or [[SOMEBODY] * len(one.scores) for one in frames],
        shots or [0] * len(frames),
        np.array(camera or [(0, 0)] * len(frames), np.float32),
        0.9,
        Described.other,
    )


def test_a_face_may_move_and_be_lost_for_a_while() -> None:
    """Links go over pictures without a face."""
    tracks = follow([found((100, 100, 60, 0.99)), found(), found((130, 100, 64, 0.99))])
    assert [track.at for track in tracks] == [[0, 2]]


def test_a_face_that_is_suddenly_another_size_is_another_face() -> None:
    """Twice the side is still the same; more is not."""
    for side, count in ((118, 1), (125, 2)):
        assert len(follow([found((100, 100, 60, 0.99)), found((100, 100, side, 0.99))])) == count


def test_a_face_moves_by_its_own_size_at_most() -> None:
    """In sides of the larger box of the two: from 60 to 100 pixels wide, 90 away is the same and 110 another face."""
    for move, count in ((90, 1), (110, 2)):
        assert len(follow([found((100, 100, 60, 0.99)), found((100 + move, 100, 100, 0.99))])) == count


def test_the_cameras_motion_is_taken_off() -> None:
    """The camera moves by three sides, and the face with the scene."""
    frames = [found((300, 100, 60, 0.99)), found((120, 100, 60, 0.99))]
    assert len(follow(frames)) == 2
    assert len(follow(frames, camera=[(0, 0), (-180, 0)])) == 1


def test_the_camera_may_follow_the_face() -> None:
    """Then the scene moves, and the face stays."""
    assert len(follow([found((100, 100, 60, 0.99))] * 2, camera=[(0, 0), (-180, 0)])) == 1


@pytest.mark.outcome("cuts from one shot to another", "a track ends at a cut")
def test_a_track_ends_at_a_cut() -> None:
    """Even where somebody else's face is in the same place."""
    tracks = follow([found((100, 100, 60, 0.99))] * 4, shots=[0, 0, 1, 1])
    assert [(track.shot, track.at) for track in tracks] == [(0, [0, 1]), (1, [2, 3])]


def test_somebody_who_looks_different_is_not_linked() -> None:
    """A dissolve puts another face where the first was, without a cut."""
    looks = [[SOMEBODY], [ANOTHER]]
    assert len(follow([found((100, 100, 60, 0.99))] * 2, looks=looks)) == 2


def test_the_nearest_is_linked_first() -> None:
    """Two faces come nearer to each other: each stays itself."""
    frames = [found((100, 100, 60, 0.99), (200, 100, 80, 0.95)), found((165, 100, 80, 0.99), (125, 100, 60, 0.95))]
    assert [track.picks for track in follow(frames)] == [[0, 1], [1, 0]]


def test_a_track_needs_the_score_once() -> None:
    """A face that is turned aside for a moment is still followed; one that is never sure is none."""
    assert [track.at for track in follow([found((100, 100, 60, 0.99)), found((100, 100, 60, 0.72))])] == [[0, 1]]
    assert follow([found((100, 100, 60, 0.72))] * 2) == []
    assert follow([found(), found()]) == []


@pytest.mark.outcome(
    "cuts from one shot to another", "tracks of different shots are one person's where they look alike"
)
def test_people_are_linked_over_cuts_by_what_they_look_like() -> None:
    """A, then B, then A again: two people."""
    looks = [[SOMEBODY], [ANOTHER], [SOMEBODY]]
    people = link_people(follow([found((100, 100, 60, 0.99))] * 3, shots=[0, 1, 2], looks=looks), Described.same)
    assert [[at for track in person for at in track.at] for person in people] == [[0, 2], [1]]


def test_who_is_seen_at_the_same_time_is_not_the_same() -> None:
    """Twins in one picture are two people, in each shot."""
    people = link_people(follow([found((100, 100, 60, 0.99), (300, 100, 60, 0.99))] * 2, shots=[0, 1]), Described.same)
    assert sorted(len(person) for person in people) == [2, 2]


FACE = st.tuples(st.floats(0, 300), st.floats(0, 200), st.floats(5, 120), st.floats(0.5, 1.0))


@given(st.lists(st.lists(FACE, max_size=4), min_size=1, max_size=6))
def test_a_track_has_one_face_a_picture(frames: list[list[Face]]) -> None:
    """Pictures ascend, picks exist, no face is in two tracks, and each track reaches the score once."""
    detections = [found(*faces) for faces in frames]
    taken = set()
    for track in follow(detections):
        assert track.at == sorted(set(track.at))
        assert max(detections[at].scores[pick] for at, pick in zip(track.at, track.picks, strict=True)) >= 0.9
        for pair in zip(track.at, track.picks, strict=True):
            assert pair not in taken
            taken.add(pair)
