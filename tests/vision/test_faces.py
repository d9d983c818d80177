"""Facts about face crops and about the choice of the primary face, on a real photograph through the real detector."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import Skip, Transient, Undecodable
from mer_pipeline.media import jpeg
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.vision.align import LAYOUT, align, similarity
from mer_pipeline.vision.detector import MtcnnParams, PrimaryParams
from mer_pipeline.vision.faces import UNSURE, ChooseFace, Faces
from mer_pipeline.vision.mouth import FREQUENCIES
from mer_pipeline.vision.tracks import FollowFaces
from tests.conftest import clip, listed, sound_row, valid
from tests.odd import cut, show

NO_VIDEO = valid(video=None)


@pytest.fixture(scope="module")
def tracks() -> FollowFaces:
    """The step with its real detector."""
    transform = FollowFaces(MtcnnParams(margin=0.1), Path())
    transform.setup(torch.device("cpu"))
    return transform


def scene(faces: list[tuple[int, int, int]], size: tuple[int, int] = (360, 640)) -> np.ndarray:
    """A grey picture with the astronaut pasted at (left, top, side)."""
    picture = np.full((*size, 3), 90, np.uint8)
    face = Image.fromarray(skimage.data.astronaut()[:300, 100:400])
    for left, top, side in faces:
        picture[top : top + side, left : left + side] = np.asarray(face.resize((side, side)))
    return picture


def frames_of(scenes: list[np.ndarray]) -> Row:
    """A row of the table `frames`."""
    return valid(jpegs=[jpeg.encode(s, 92) for s in scenes], times=[0.5 * at for at in range(len(scenes))])


def people_of(tracks: FollowFaces, scenes: list[np.ndarray]) -> Row | Skip:
    """The row of `tracks` of a clip that has stored frames and no video."""
    return tracks.infer([tracks.prepare(clip(manifest=NO_VIDEO, frames=frames_of(scenes)))])[0]


def run(tracks: FollowFaces, scenes: list[np.ndarray], **choice: object) -> Row | Skip:
    """The row of `faces`."""
    row = people_of(tracks, scenes)
    if isinstance(row, Skip):
        return row
    return ChooseFace(PrimaryParams(**choice)).prepare(clip(tracks=valid(**row), audio=None))  # type: ignore[arg-type]


def test_a_photographed_face_is_found_and_aligned(tracks: FollowFaces) -> None:
    """One crop a frame, of the asked size, the eyes level and where the layout has them."""
    row = run(tracks, [scene([(40, 40, 240)]), scene([(60, 50, 240)])])
    assert isinstance(row, dict)
    faces = Faces.of(row)
    assert (len(faces.crops), faces.coverage) == (2, 1.0)
    again = tracks.detector.detect(np.stack([jpeg.decode(data) for data in faces.crops]))
    for found in again:
        points = found.landmarks[0] / 160
        target = (LAYOUT + 0.1) / 1.2
        assert np.abs(points - target).max() < 0.06


def test_the_size_of_the_pictures_may_change(tracks: FollowFaces) -> None:
    """As in a recorded call: the face is found in both sizes, and what each picture shows is what it shows alone."""
    large, small = scene([(40, 40, 240)]), scene([(40, 40, 120)], (240, 320))
    row = run(tracks, [large, small])
    assert isinstance(row, dict)
    found = {candidate["frame"]: candidate["box"] for candidate in row["candidates"] if candidate["score"] > 0.9}
    for at, alone in enumerate((large, small)):
        only = run(tracks, [alone])
        assert isinstance(only, dict)
        assert found[at] == pytest.approx(np.asarray(only["boxes"][0]).tolist(), abs=0.01)


def test_the_box_is_in_pixels_of_the_frame() -> None:
    """Detection works on a smaller copy; what is stored refers to the frame."""
    small = FollowFaces(MtcnnParams(detect_side=320, min_face=20), Path())
    small.setup(torch.device("cpu"))
    row = run(small, [scene([(340, 60, 240)])])
    assert isinstance(row, dict)
    left, top, right, bottom = row["boxes"][0]
    assert 340 < left < right < 580
    assert 60 < top < bottom < 300


@pytest.mark.outcome("several faces", "all boxes are in `candidates` and all people in `data/tracks`")
@pytest.mark.outcome("several faces, no sound", "done; the primary face is the one that is large")
def test_without_sound_the_larger_of_two_faces_is_primary_and_both_are_kept(tracks: FollowFaces) -> None:
    """All candidates' boxes are in the row, and both people in the table `tracks`."""
    row = run(tracks, [scene([(20, 20, 150), (300, 40, 280)])] * 2)
    assert isinstance(row, dict)
    assert all(box[0] > 300 for box in row["boxes"])
    assert len(row["candidates"]) == 4
    people = people_of(tracks, [scene([(20, 20, 150), (300, 40, 280)])] * 2)
    assert isinstance(people, dict)
    assert len(people["people"]) == 2


@pytest.mark.outcome("several faces, no sound", "and seen for long")
def test_a_face_that_stays_beats_a_larger_one_that_passes(tracks: FollowFaces) -> None:
    """One close-up of somebody else does not take over."""
    steady, both = [(20, 20, 150)], [(20, 20, 150), (300, 40, 280)]
    row = run(tracks, [scene(both), *[scene(steady)] * 4])
    assert isinstance(row, dict)
    assert all(box[2] < 300 for box in row["boxes"])


@pytest.mark.outcome("several faces", "`speaker_confidence` says how sure that is")
def test_the_listener_is_the_other_one(tracks: FollowFaces) -> None:
    """Whoever is less likely the speaker."""
    row = run(tracks, [scene([(20, 20, 150), (300, 40, 280)])] * 2, primary="listener")
    assert isinstance(row, dict)
    assert all(box[2] < 300 for box in row["boxes"])
    assert row["speaker_confidence"] < 0.5


def test_another_choice_detects_nothing_again() -> None:
    """The key of the rows of `tracks` has no part of the choice, and has the other params."""
    keys = [
        fingerprint_of(FollowFaces(params, Path("x")), "cpu").id
        for params in (MtcnnParams(), MtcnnParams(primary="listener", min_confidence=0.5), MtcnnParams(min_score=0.8))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_where_it_is_unsure_who_speaks_there_is_no_primary_face(tracks: FollowFaces) -> None:
    """A voice, and a face whose mouth does not move: it is somebody else's voice."""
    row = people_of(tracks, [scene([(40, 40, 240)])] * 3)
    assert isinstance(row, dict)
    times = np.arange(0.04, 1.4, 0.08)
    still = np.full(len(times), 0.03, np.float32)
    shape = np.zeros((len(times), FREQUENCIES**2), np.float32)
    person = {**row["people"][0], "motion_times": times, "mouth": still, "upper": still, "mouth_shape": shape}
    rng = np.random.default_rng(0)
    voice = 0.3 * rng.normal(size=24_000) * np.repeat(rng.random(15) > 0.4, 1600)
    chosen = ChooseFace(PrimaryParams(min_confidence=0.4)).prepare(
        clip(tracks=valid(**{**row, "people": [person]}), audio=sound_row(voice))
    )
    assert isinstance(chosen, Skip)
    assert str(chosen) == UNSURE


def test_a_frame_without_the_face_lowers_the_coverage(tracks: FollowFaces) -> None:
    """The face leaves: its frames say which."""
    row = run(tracks, [scene([(40, 40, 240)]), scene([]), scene([]), scene([(40, 40, 240)])])
    assert isinstance(row, dict)
    assert row["frame_index"] == [0, 3]
    assert row["coverage"] == 0.5


def test_no_face_is_a_skip(tracks: FollowFaces) -> None:
    """A scene without people is a valid clip without a face."""
    row = run(tracks, [scene([])] * 2)
    assert isinstance(row, Skip)
    assert str(row) == "no face found"


def test_a_tiny_picture_has_no_face(tracks: FollowFaces) -> None:
    """Below the detector's window it is not even asked, be it low or narrow."""
    for size in ((8, 8), (8, 400), (400, 8)):
        assert isinstance(run(tracks, [np.zeros((*size, 3), np.uint8)]), Skip)


@pytest.mark.outcome(
    "a video that `frames` could read and that does not decode to its end",
    "done; faces are found in the stored frames, and mouths are not seen to move",
)
def test_a_video_that_does_not_decode_any_more(tracks: FollowFaces, tmp_path: Path) -> None:
    """Its stored frames are searched, and nobody's mouth is seen to move: of a file that is cut off, and of one whose
    decoding ended its process. A failure that may pass is no outcome."""
    show(tmp_path / "a.mp4", [scene([(40, 40, 240)])] * 8)
    frames = frames_of([scene([(40, 40, 240)])] * 2)
    root = FollowFaces(tracks.params, tmp_path)
    root.detector = tracks.detector
    whole = root.prepare(clip(manifest=valid(**listed(tmp_path, video="a.mp4")), frames=frames))
    assert len(whole.greys) > 2
    cut(tmp_path / "a.mp4", 0.5)
    one = clip(manifest=valid(**listed(tmp_path, video="a.mp4")), frames=frames)
    for footage in (root.prepare(one), root.given_up(one, Undecodable("it crashes"))):
        (row,) = root.infer([footage])
        assert isinstance(row, dict)
        (person,) = row["people"]
        assert (len(person["crops"]), len(person["motion_times"])) == (2, 0)
    with pytest.raises(Transient, match="the disk"):
        root.given_up(one, Transient("the disk"))


def test_a_clip_does_not_depend_on_its_companions(tracks: FollowFaces) -> None:
    """The detector sees one clip per call, so batches cannot move a box."""
    items = [
        tracks.prepare(clip(manifest=NO_VIDEO, frames=frames_of([scene(faces)] * n)))
        for faces, n in (([(40, 40, 240)], 2), ([], 3), ([(20, 20, 150), (300, 40, 280)], 1))
    ]
    together = tracks.infer(items)
    for item, row in zip(items, together, strict=True):
        alone = tracks.infer([item])[0]
        if isinstance(row, Skip):
            assert isinstance(alone, Skip)
        else:
            assert isinstance(alone, dict)
            for one, other in zip(row["people"], alone["people"], strict=True):
                assert one["crops"] == other["crops"]
                assert np.array_equal(one["boxes"], other["boxes"])


def test_similarity_recovers_rotation_scale_and_shift() -> None:
    """The least-squares answer is exact where an exact one exists."""
    angle, scale, shift = 0.3, 1.7, np.array([4.0, -2.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(LAYOUT, LAYOUT @ turn.T + shift)
    assert matrix == pytest.approx(np.column_stack([turn, shift]))


def test_alignment_turns_a_tilted_head_upright() -> None:
    """The pixel under each landmark comes to lie at the layout's place."""
    angle = np.deg2rad(25)
    turn = 150 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (LAYOUT @ turn.T + np.array([150.0, 60.0])).astype(np.float32)
    picture = np.zeros((300, 300, 3), np.uint8)
    for x, y in points.round().astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    aligned = align(picture, points, 160, 0.1)
    for x, y in ((LAYOUT + 0.1) / 1.2 * 160).round().astype(int):
        assert aligned[y - 1 : y + 2, x - 1 : x + 2].mean() > 120


@pytest.mark.parametrize("degrees", [0, 45, 90])
def test_a_face_larger_than_its_crop_is_averaged(degrees: int) -> None:
    """Stripes of one pixel on a face four times the crop's size become grey, whatever way the head is turned."""
    angle = np.deg2rad(degrees)
    turn = 640 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((LAYOUT - 0.5) @ turn.T + 500).astype(np.float32)
    stripes = np.tile(np.array([[[0] * 3, [255] * 3]], np.uint8), (1000, 500, 1))
    assert align(stripes, points, 160, 0.0)[60:100, 60:100].std() < 10


def test_what_lies_beyond_the_picture_is_black() -> None:
    """A face at the edge is not stretched."""
    points = (LAYOUT * 160 - [80, 0]).astype(np.float32)
    aligned = align(np.full((160, 160, 3), 255, np.uint8), points, 160, 0.0)
    assert not aligned[:, :75].any()
    assert (aligned[5:-5, 85:] == 255).all()
