import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.vision.detector import Detections
from mer_pipeline.vision.track import primary_track


def found(*faces: tuple[float, float, float, float]) -> Detections:
    """Detections from (x, y, side, score) of square faces."""
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s, _ in faces], np.float32).reshape(-1, 4)
    scores = np.array([score for *_, score in faces], np.float32)
    return Detections(boxes, scores, np.zeros((len(faces), 5, 2), np.float32))


def test_the_larger_of_two_faces_is_primary() -> None:
    """Size times score over time."""
    track = primary_track([found((100, 100, 40, 0.99), (250, 100, 80, 0.99))] * 4, 0.9)
    assert track is not None
    assert track.picks == [1, 1, 1, 1]


def test_a_face_that_stays_beats_a_larger_one_that_passes() -> None:
    """Continuity counts: one close-up of somebody else does not take over."""
    steady = (100, 100, 60, 0.99)
    frames = [found(steady), found((300, 100, 110, 0.99), steady), found(steady), found(steady)]
    track = primary_track(frames, 0.9)
    assert track is not None
    assert track.picks == [0, 1, 0, 0]


def test_a_face_may_move_and_be_lost_for_a_while() -> None:
    """Links go over frames without a face."""
    track = primary_track([found((100, 100, 60, 0.99)), found(), found((130, 100, 64, 0.99))], 0.9)
    assert track is not None
    assert track.frames == [0, 2]


def test_a_face_that_is_suddenly_another_size_is_another_face() -> None:
    """Twice the side is still the same; more is not."""
    for side, frames in ((118, [0, 1]), (125, [1])):
        track = primary_track([found((100, 100, 60, 0.99)), found((100, 100, side, 0.99))], 0.9)
        assert track is not None
        assert track.frames == frames


def test_a_face_moves_by_its_own_size_at_most() -> None:
    """In sides of the larger box of the two: from 60 to 100 pixels wide, 90 away is the same and 110 another face."""
    for move, frames in ((90, [0, 1]), (110, [1])):
        track = primary_track([found((100, 100, 60, 0.99)), found((100 + move, 100, 100, 0.99))], 0.9)
        assert track is not None
        assert track.frames == frames


def test_the_nearest_is_linked_first() -> None:
    """Two faces come nearer to each other: each stays itself."""
    frames = [found((100, 100, 60, 0.99), (200, 100, 80, 0.95)), found((165, 100, 80, 0.99), (125, 100, 60, 0.95))]
    track = primary_track(frames, 0.9)
    assert track is not None
    assert track.picks == [1, 0]


def test_no_face_is_no_track() -> None:
    """Nor are faces below the score."""
    assert primary_track([found(), found()], 0.9) is None
    assert primary_track([found((100, 100, 60, 0.5))], 0.9) is None


FACE = st.tuples(st.floats(0, 300), st.floats(0, 200), st.floats(5, 120), st.floats(0.5, 1.0))


@given(st.lists(st.lists(FACE, max_size=4), min_size=1, max_size=6))
def test_a_track_has_one_face_a_frame(frames: list[list[tuple[float, float, float, float]]]) -> None:
    """Frames ascend, picks exist and reach the score."""
    detections = [found(*faces) for faces in frames]
    track = primary_track(detections, 0.9)
    if track is None:
        assert all(face[3] < 0.9 + 1e-6 for faces in frames for face in faces)
        return
    assert track.frames == sorted(set(track.frames))
    for at, pick in zip(track.frames, track.picks, strict=True):
        assert detections[at].scores[pick] >= 0.9
