"""Odd clips through the stages: each becomes what docs/outcomes.md says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.config import steps
from mer_pipeline.media import jpeg
from mer_pipeline.speech.track import Sound
from tests.media.make import colours_of, number_of
from tests.odd import Outcomes, cut, run_stages, show, write_odd_clips
from tests.vision.test_faces import scene

CSV = "name,label,fps,transcript\nwhole,sad,,hello\nmute,happy,,\nsilent,,,NaN\nright_rate,,4,\n"
NO_VIDEO = "skipped: no picture: the dataset has no video of this clip"
NO_SOUND = "skipped: no sound track"
UNKNOWN = "BadInput: the file is not a known media container (mp4, mov, avi, mkv, webm, wav, flac, mp3, ogg)"
CUT_OFF = "BadInput: the file is cut off: it has {} bytes, and its structure says {}; copy it again"
LOST_SOUND = "BadInput: the file is damaged: {} of its 2.0 s of sound decode; copy it again"
LOST_FRAMES = "BadInput: the file is damaged: {} of its {} frames do not decode; copy it again"
NO_CODEC = "BadInput: the file's {} is of a kind that FFmpeg cannot decode; convert it, for instance to mp4"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What became of all of them, in one run of `ingest`, `frames` and `audio`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("odd"))
        patch.setenv("MER_STORE", "none")
        write_odd_clips(Path("clips"))
        yield run_stages(CSV, lambda params: [steps.frames(params), steps.audio(params)])


@pytest.mark.parametrize(
    ("clip", "ingest", "frames", "audio"),
    [
        pytest.param("whole", None, "done", "done"),
        pytest.param(
            "zero", *["BadInput: the file is empty (0 bytes); copy it again"] * 3,
            marks=pytest.mark.outcome(
                "zero bytes, not a media file, a playlist with a media name",
                "quarantined by `ingest` (the row in the manifest stays), `frames` and `audio`",
            ),
        ),
        pytest.param(
            "text", UNKNOWN, UNKNOWN, UNKNOWN,
            marks=pytest.mark.outcome(
                "zero bytes, not a media file, a playlist with a media name",
                "quarantined by `ingest` (the row in the manifest stays), `frames` and `audio`",
            ),
        ),
        pytest.param(
            "playlist", UNKNOWN, UNKNOWN, UNKNOWN,
            marks=pytest.mark.outcome(
                "zero bytes, not a media file, a playlist with a media name",
                "quarantined by `ingest` (the row in the manifest stays), `frames` and `audio`",
            ),
        ),
        pytest.param(
            "cut_mp4", None,
            "BadInput: the file is cut off: 24 of 40 frames are there; copy it again",
            "BadInput: the file is cut off: 52 of 95 packets of sound are there; copy it again",
            marks=pytest.mark.outcome(
                "truncated, whatever the container",
                "quarantined by `frames` and `audio`: half a clip is not a clip; the message says how "
                "much is there",
            ),
        ),
        pytest.param(
            "cut_mkv", None, CUT_OFF, CUT_OFF,
            marks=pytest.mark.outcome(
                "truncated, whatever the container",
                "quarantined by `frames` and `audio`: half a clip is not a clip; the message says how "
                "much is there",
            ),
        ),
        pytest.param(
            "cut_wav", None, NO_VIDEO,
            CUT_OFF,
            marks=pytest.mark.outcome(
                "truncated, whatever the container",
                "quarantined by `frames` and `audio`: half a clip is not a clip; the message says how "
                "much is there",
            ),
        ),
        pytest.param(
            "hole", None, *["BadInput: the file is damaged: no element begins at byte {}; copy it again"] * 2,
            marks=pytest.mark.outcome("damaged in the middle", "or where pieces of the file"),
        ),
        pytest.param(
            "no_jpeg", None,
            "BadInput: the file cannot be decoded: Invalid data found when processing input; copy or convert it again",
            NO_SOUND,
            marks=pytest.mark.outcome("damaged in the middle", "quarantined where the decoder gives an error"),
        ),
        pytest.param(
            "rot", None, "done", NO_SOUND,
            marks=pytest.mark.outcome(
                "damaged inside of frames that decode all the same",
                "done; nothing says that they are not what was recorded",
            ),
        ),
        pytest.param("lost_4", None, "done", NO_SOUND),
        pytest.param(
            "lost_5", None,
            LOST_FRAMES, NO_SOUND,
            marks=pytest.mark.outcome("damaged in the middle", "more than 3 % of its frames and one more"),
        ),
        pytest.param(
            "hole_flac", None, NO_VIDEO, LOST_SOUND,
            marks=pytest.mark.outcome("damaged in the middle", "or of the sound of a flac or ogg are lost"),
        ),
        pytest.param(
            "hole_ogg", None, NO_VIDEO, LOST_SOUND,
            marks=pytest.mark.outcome("damaged in the middle", "or of the sound of a flac or ogg are lost"),
        ),
        pytest.param(
            "lead_long", None, LOST_FRAMES, NO_SOUND,
            marks=pytest.mark.outcome(
                "begins between two key frames",
                "else quarantined as damaged where more frames are lost than damage in the middle may cost",
            ),
        ),
        pytest.param(
            "promise",
            *["BadInput: the file's header is broken: an edit list has 9900 entries for 40 samples; "
              "copy the file again or convert it"] * 3,
            marks=pytest.mark.outcome("header that promises more than the file can hold", "quarantined"),
        ),
        pytest.param(
            "mute", None, "done", NO_SOUND,
            marks=pytest.mark.outcome("no sound track; digital silence", '`audio` skips: "no sound track"'),
        ),
        pytest.param(
            "silent", None, "done", "skipped: silent",
            marks=pytest.mark.outcome("no sound track; digital silence", '"silent"'),
        ),
        pytest.param(
            "no_picture_codec", NO_CODEC.format("picture"), NO_CODEC.format("picture"), "done",
            marks=pytest.mark.outcome(
                "picture or sound in a codec that FFmpeg does not know",
                "quarantined by `ingest` and where that half is read; the other half is done",
            ),
        ),
        pytest.param(
            "no_sound_codec", NO_CODEC.format("sound"), "done", NO_CODEC.format("sound"),
            marks=pytest.mark.outcome(
                "picture or sound in a codec that FFmpeg does not know",
                "quarantined by `ingest` and where that half is read; the other half is done",
            ),
        ),
        pytest.param(
            "two_sounds", None, NO_VIDEO, "done",
            marks=pytest.mark.outcome("size of the picture, or channels and rate of the sound, change midway", "done"),
        ),
        pytest.param(
            "opposite", None, NO_VIDEO, "done",
            marks=pytest.mark.outcome("left and right with opposite signs", "done, not silent (docs/method.md)"),
        ),
        pytest.param(
            "long", None, NO_VIDEO,
            "BadInput: the clip has more than 6 s of sound: cut it into clips, or raise audio.max_seconds",
            marks=[
                pytest.mark.outcome(
                    "more sound than `audio.max_seconds`",
                    "quarantined by `audio`; cut it into clips, or raise the param",
                ),
                pytest.mark.outcome("sound, with its holes", "`audio.max_seconds`"),
            ],
        ),
    ],
)  # fmt: skip
def test_an_odd_clip(outcomes: Outcomes, clip: str, ingest: str | None, frames: str, audio: str) -> None:
    """What `ingest`, `frames` and `audio` make of it; the row in the manifest is there in any case."""
    assert "video" in outcomes.rows["manifest"][clip]
    for stage, expected in (("ingest", ingest), ("frames", frames), ("audio", audio)):
        assert matches(outcomes.of(stage, clip), expected), (stage, outcomes.of(stage, clip))


def matches(found: str | None, expected: str | None) -> bool:
    """Whether it is that outcome; {} stands for a number."""
    if found is None or expected is None:
        return found is expected
    return re.fullmatch(re.escape(expected).replace(r"\{\}", r"[\d.]+"), found) is not None


def numbers(outcomes: Outcomes, clip: str) -> list[int]:
    """The numbers that the stored frames carry."""
    return [number_of(jpeg.decode(data)) for data in outcomes.rows["frames"][clip]["jpegs"]]  # type: ignore[attr-defined]


def times(outcomes: Outcomes, clip: str) -> list[float]:
    """When the frames are shown, in seconds."""
    return list(outcomes.rows["frames"][clip]["times"])  # type: ignore[call-overload]


def samples(outcomes: Outcomes, clip: str) -> np.ndarray:
    """The sound: (samples,) float32 at 16 kHz."""
    return Sound.of(outcomes.rows["audio"][clip]).samples


@pytest.mark.outcome(
    "truncated between two fragments of an mp4, two clusters of a live webm, or two frames of an mp3 without a header",
    "done with what is there, because the file says nothing of its length",
)
def test_a_cut_that_cannot_be_seen(outcomes: Outcomes) -> None:
    """Half of two seconds is there, and is all that the file knows of."""
    for clip in ("cut_fragments", "cut_live"):
        assert numbers(outcomes, clip)[:15] == list(range(15))
        assert 15 <= len(times(outcomes, clip)) <= 25
    for clip in ("cut_fragments", "cut_live", "cut_bare"):
        assert 0.8 < len(samples(outcomes, clip)) / 16_000 < 1.2


@pytest.mark.outcome(
    "begins between two key frames",
    "done with the frames that decode, each at its own time, if that takes at most half a second",
)
def test_a_clip_that_begins_between_two_key_frames(outcomes: Outcomes) -> None:
    """Seven frames of 20 per second are lost, .35 s; thirteen are too many."""
    assert numbers(outcomes, "lead_short") == list(range(8, 41))
    assert times(outcomes, "lead_short") == pytest.approx([at / 20 for at in range(7, 40)], abs=2e-3)


@pytest.mark.outcome("rotation or mirror in the metadata", "done, upright; a broken matrix is ignored")
@pytest.mark.parametrize(("clip", "colours"), [("turned", "BRYG"), ("mirrored", "GRYB"), ("no_matrix", "RGBY")])
def test_a_turned_clip(outcomes: Outcomes, clip: str, colours: str) -> None:
    """Its frames are as a player shows them; a matrix that shows nothing is none."""
    assert colours_of(jpeg.decode(outcomes.rows["frames"][clip]["jpegs"][0])) == colours  # type: ignore[index]


@pytest.mark.outcome("pixels that are not square", "done, in the shape that a player shows")
def test_pixels_that_are_not_square(outcomes: Outcomes) -> None:
    """160 pixels of 16:11 are shown as wide as 233 that are square."""
    row = outcomes.rows["frames"]["wide_pixels"]
    assert (row["width"], row["height"]) == (233, 120)


@pytest.mark.outcome("variable frame rate", "done; times are read from the file")
def test_a_variable_frame_rate(outcomes: Outcomes) -> None:
    """The file's times."""
    assert times(outcomes, "uneven") == pytest.approx([0, 0.04, 0.08, 0.5, 0.54, 1.5], abs=2e-3)


@pytest.mark.outcome("B-frames in AVI, or times of decoding in place of presentation", "done, in order")
@pytest.mark.parametrize("clip", ["b_frames", "decoding_times"])
def test_frames_that_are_stored_out_of_order(outcomes: Outcomes, clip: str) -> None:
    """They come in order, at equal steps."""
    assert numbers(outcomes, clip) == list(range(40))
    assert np.diff(times(outcomes, clip)) == pytest.approx(1 / 20, abs=2e-3)


@pytest.mark.outcome("clock that does not start at 0", "done; times are from the clip's start")
def test_a_late_clock(outcomes: Outcomes) -> None:
    """It says 3605.5 s at the clip's start."""
    assert times(outcomes, "late_clock") == pytest.approx([at / 20 for at in range(40)], abs=2e-3)
    assert len(samples(outcomes, "late_clock")) / 16_000 == pytest.approx(2.0, abs=0.05)


@pytest.mark.outcome("one frame", "done")
def test_one_frame(outcomes: Outcomes) -> None:
    """One picture at 0 s, and a second of sound."""
    assert times(outcomes, "one_frame") == [0.0]
    assert outcomes.of("audio", "one_frame") == "done"


@pytest.mark.outcome(
    "size of the picture, or channels and rate of the sound, change midway",
    "done; each picture has its own size",
)
def test_sizes_that_change(outcomes: Outcomes) -> None:
    """Each picture has its own size; of the two sounds, all four seconds are there."""
    sizes = [jpeg.decode(data).shape[:2] for data in outcomes.rows["frames"]["two_sizes"]["jpegs"]]  # type: ignore[attr-defined]
    assert sizes == [(120, 160)] * 10 + [(72, 96)] * 10
    assert len(samples(outcomes, "two_sounds")) / 16_000 == pytest.approx(4.0, abs=0.2)


@pytest.mark.outcome("sound that starts late or has holes", "done; silence stands in their place")
def test_sound_that_is_not_always_there(outcomes: Outcomes) -> None:
    """It starts at .7 s; or it pauses from .5 to 1.2 s, and goes on where it was."""
    late, hole = (np.abs(samples(outcomes, clip)) > 0.1 for clip in ("late_sound", "hole_in_sound"))
    assert np.argmax(late) / 16_000 == pytest.approx(0.7, abs=0.03)
    assert len(late) / 16_000 == pytest.approx(2.7, abs=0.05)
    assert not hole[8_800:18_400].any()
    assert hole[:7_200].any()
    assert hole[20_000:].any()
    assert len(hole) / 16_000 == pytest.approx(2.0, abs=0.05)


@pytest.mark.outcome("left and right with opposite signs", "done, not silent (docs/method.md)")
def test_opposite_channels_are_heard(outcomes: Outcomes) -> None:
    """As loud as one of them (docs/method.md says how they are mixed)."""
    assert outcomes.rows["audio"]["opposite"]["loudest_dbfs"] > -20  # type: ignore[operator]


@pytest.mark.outcome(
    "wrong frame rate in the header",
    "done with the header's times; give `fps` or `duration` in the CSV",
)
def test_a_wrong_frame_rate(outcomes: Outcomes) -> None:
    """The header says 5 per second. The CSV's `fps` of 4 comes first."""
    assert times(outcomes, "wrong_rate")[:3] == pytest.approx([0.0, 0.2, 0.4], abs=2e-3)
    assert times(outcomes, "right_rate")[:3] == [0.0, 0.25, 0.5]


@pytest.mark.outcome(
    "no or NaN subtitle", '`subtitles` row with `valid=false`, "no subtitle"', "`transcript` has the same row"
)
def test_clips_without_words(outcomes: Outcomes) -> None:
    """An empty cell, NaN, and no line in the CSV at all."""
    rows = outcomes.rows["subtitles"]
    kept = ("zh", "en", "valid", "reason")
    assert {clip: [row[name] for name in kept] for clip, row in outcomes.rows["transcript"].items()} == {
        clip: [row[name] for name in kept] for clip, row in rows.items()
    }
    assert not any(row["heard"] for row in outcomes.rows["transcript"].values())
    found = {clip: (rows[clip]["valid"], rows[clip]["reason"]) for clip in ("whole", "mute", "silent", "two_sizes")}
    assert found.pop("whole") == (True, None)
    assert set(found.values()) == {(False, "no subtitle")}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Films with and without faces, through all that looks at faces; one film of a photograph has somebody's voice."""
    face, nobody = scene([(40, 20, 200)], (240, 320)), scene([], (240, 320))
    rng = np.random.default_rng(0)
    voice = (0.3 * rng.normal(size=24_000) * np.repeat(rng.random(15) > 0.4, 1600)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("people"))
        patch.setenv("MER_STORE", "none")
        Path("clips").mkdir()
        show(Path("clips/nobody.mp4"), [nobody] * 10)
        show(Path("clips/part.mp4"), [face] * 5 + [nobody] * 15)
        show(Path("clips/still.mp4"), [face] * 15, voice)
        yield run_stages(
            "name,label\nnobody,sad\npart,happy\n",
            lambda params: [
                steps.frames(params), steps.audio(params), steps.tracks(params), steps.faces(params),
                *(steps.embed(params, name) for name in params.encoders), steps.cues(),
            ],
            frames={"mode": "uniform", "n": 4}, faces={"min_confidence": 0.4},
            encoders={"face": {"family": "face-geometry", "input": "faces"}},
        )  # fmt: skip


@pytest.mark.outcome("no face in any frame", '`faces` skips: "no face found"; frames are embedded all the same')
def test_nobody_is_there(people: Outcomes) -> None:
    """The faces are skipped, and what encodes frames has its row."""
    found = [people.of(step, "nobody") for step in ("faces", "embed-face", "embed-scene")]
    assert found == ["skipped: no face found", "skipped: no face found", "done"]


@pytest.mark.outcome("face in part of the frames", "done; `coverage` says how much, `frame_index` which")
def test_a_face_that_is_there_for_a_while(people: Outcomes) -> None:
    """In the first of the four frames of two seconds."""
    row = people.rows["faces"]["part"]
    assert (row["valid"], row["coverage"], row["frame_index"]) == (True, 0.25, [0])


@pytest.mark.outcome(
    "nobody in the picture seems to speak",
    '`faces` skips: "unsure whose face it is (faces.min_confidence)"; the face is masked and '
    "no cue of it is written, the people stay in `data/tracks`",
)
def test_somebody_else_speaks(people: Outcomes) -> None:
    """A photograph and a voice: people are kept, and neither a feature nor a cue is made of the face."""
    unsure = "skipped: unsure whose face it is (faces.min_confidence)"
    assert [people.of(step, "still") for step in ("faces", "embed-face")] == [unsure, unsure]
    assert len(people.rows["tracks"]["still"]["people"]) == 1  # type: ignore[arg-type]
    cues = people.rows["cues"]["still"]
    of_the_face = ("coverage", "mouth_width", "face_length", "brow_height", "head_motion")
    assert [cues[name] for name in of_the_face] == [None] * 5
    assert cues["loudness"] is not None


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Clips of a release without videos: arrays of blue faces, and odd ones."""
    blue = np.zeros((8, 112, 112, 3), np.uint8)
    blue[..., 0] = 200
    dim = blue.copy()
    dim[:6] = 0
    odd = {
        "good": blue,
        "black": 0 * blue,
        "dim": dim,
        "flat": blue[0],
        "floats": blue.astype(np.float32),
        "torn": blue,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("arrays"))
        patch.setenv("MER_STORE", "none")
        folder = Path("clips/openface_face")
        folder.mkdir(parents=True)
        for name, array in odd.items():
            np.save(folder / f"{name}.npy", array)
        cut(folder / "torn.npy", 0.5)
        Path("clips/track1_train_disdim.csv").write_text("name,discrete\n" + "".join(f"{name},sad\n" for name in odd))
        Path("clips/track_all_candidates.csv").write_text("name\nnofile\n")
        Path("clips/subtitle_chieng.csv").write_text("name,chinese,english\nghost,x,y\n")
        Path("clips/votes.csv").write_text("name,source,family,label\nghost,crowd,crowd,sad\n")
        yield run_stages(
            "",
            lambda params: [
                steps.frames(params), steps.audio(params), steps.tracks(params), steps.faces(params),
                *(steps.embed(params, name) for name in ("face", "look")), steps.cues(),
            ],
            dataset={"adapter": "mer2025", "csv": "clips", "votes": "votes.csv"}, faces={"detector": "openface"},
            encoders={
                "face": {"family": "face-geometry", "input": "faces"},
                "look": {"family": "appearance", "input": "faces"},
            },
        )  # fmt: skip


@pytest.mark.outcome(
    "no video, but an array of `openface_face/`",
    "`frames` skips; with `faces.detector: openface` the faces are the array's, without "
    "boxes and landmarks: `face-geometry` skips, and no cue tells of mouth, brows or head",
)
def test_an_array_of_faces(arrays: Outcomes) -> None:
    """It is all that there is of the face: its pictures, and no point of it."""
    found = {step: arrays.of(step, "good") for step in ("frames", "faces", "embed-look")}
    assert found == {"frames": NO_VIDEO, "faces": "done", "embed-look": "done"}
    assert str(arrays.of("embed-face", "good")).startswith("skipped: ")
    row = arrays.rows["faces"]["good"]
    assert len(row["crops"]) == 8  # type: ignore[arg-type]
    assert np.isnan(row["boxes"]).all()  # type: ignore[call-overload]
    assert np.isnan(row["landmarks"]).all()  # type: ignore[call-overload]
    cues = arrays.rows["cues"]["good"]
    assert [cues[name] for name in ("mouth_width", "face_length", "brow_height", "head_motion")] == [None] * 4


@pytest.mark.outcome(
    "array of faces that is black",
    '`faces` skips: "no face found"; black in part: left out, `coverage` says how much is there',
)
def test_a_black_array(arrays: Outcomes) -> None:
    """No face is found; of eight pictures two show one."""
    assert arrays.of("faces", "black") == "skipped: no face found"
    row = arrays.rows["faces"]["dim"]
    assert (row["valid"], row["frame_index"], row["coverage"]) == (True, [6, 7], 0.25)


@pytest.mark.outcome("array of faces that is torn or of another shape or type", "quarantined by `faces`")
@pytest.mark.parametrize(
    ("clip", "says"), [("torn", "the file is torn"), ("flat", "(112, 112, 3) of uint8"), ("floats", "of float32")]
)
def test_an_array_that_is_broken(arrays: Outcomes, clip: str, says: str) -> None:
    """Its faces are broken, and what would be made of them is not there."""
    found = str(arrays.of("tracks", clip))
    assert found.startswith("BadInput: ")
    assert says in found
    assert [clip in arrays.rows[step] for step in ("tracks", "faces", "embed-look")] == [False] * 3


@pytest.mark.outcome(
    "film or sound in a container that is not read (`.flv`, `.wmv`, `.mts`, `.amr`, …)",
    "no clip; `ingest` and",
    "say how many there are and how to convert them",
)
def test_a_container_that_is_not_read(outcomes: Outcomes) -> None:
    """One is there: the stage says so, and a note says what to do."""
    assert "film" not in outcomes.rows["manifest"]
    assert "; 1 files of other kinds (1 .flv) are not read" in outcomes.said
    assert (
        "NotRead",
        "1 files of other kinds (1 .flv) are not read: convert such files, as with `ffmpeg -i 'film.flv' 'film.mp4'`",
    ) in itertools.chain(*outcomes.problems["ingest"].values())


@pytest.mark.outcome("subtitle or vote without a clip", "noted in `data/quarantine/ingest.parquet`, nothing else")
def test_words_and_votes_of_nobody(arrays: Outcomes) -> None:
    """They are two notes; no table has such a clip."""
    assert arrays.problems["ingest"]["ghost"] == [
        ("NoClip", "subtitle_chieng.csv has a subtitle for a clip that is not there"),
        ("NoClip", "votes.csv votes on a clip that is not there"),
    ]
    assert not [step for step, rows in arrays.rows.items() if "ghost" in rows]


@pytest.mark.outcome("named in a CSV, no such file", "noted; still a clip")
def test_a_name_without_a_file(arrays: Outcomes) -> None:
    """A candidate is one of the test clips, whatever is there of it."""
    assert [error for error, _ in arrays.problems["ingest"]["nofile"]] == ["NoFile"]
    assert arrays.rows["manifest"]["nofile"]["split"] == "test"
    assert arrays.of("faces", "nofile") == "skipped: no face: the dataset brings none of this clip"
