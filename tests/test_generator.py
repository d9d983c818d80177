"""The committed demo split is what its generator makes, and holds what its README says."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "demo"
sys.path.insert(0, str(ROOT / "data"))

from generator.check import compare_clips, decode  # noqa: E402 (the package lies beside its data, not on the path)
from generator.cli import find_differences, planned  # noqa: E402
from generator.odd import write_clip  # noqa: E402
from generator.plan import CLASSES, limits  # noqa: E402

SEED = 7


def table(name: str) -> list[dict[str, str]]:
    """The rows of a CSV of the demo."""
    with (DEMO / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(name: str, key: str, value: str) -> dict[str, str]:
    """One column of a CSV by another."""
    return {row[key]: row[value] for row in table(name)}


def odd(what: str) -> str:
    """The name of the odd clip of that kind."""
    return next(row["name"] for row in table("odd.csv") if row["what"] == what)


def video(name: str) -> Path:
    """The clip's file."""
    return DEMO / "video" / f"{name}.mp4"


def group(name: str) -> str:
    """The speaker, read from the name as users do."""
    match = re.match(r"^(s\d\d)_", name)
    assert match, name
    return match[1]


def test_tables_readme_and_a_few_clips_are_what_the_generator_makes() -> None:
    """Every CSV is compared, and three clips that are made again."""
    assert find_differences(DEMO, SEED, count=3) == []


def test_a_clip_does_not_depend_on_what_was_made_before_it(tmp_path: Path) -> None:
    """Each clip draws from its own generator: two seeds differ, one seed twice is the same bytes."""
    clip = planned(SEED)[0][100]
    for name, seed in (("a", SEED), ("b", SEED), ("c", SEED + 1)):
        write_clip(seed, clip, None, tmp_path / f"{name}.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert compare_clips(tmp_path / "a.mp4", tmp_path / "c.mp4") is not None


def test_a_changed_clip_and_a_changed_row_are_named(tmp_path: Path) -> None:
    """The check would notice: another clip under a name, and a label that was edited."""
    assert compare_clips(video("s01_0001"), video("s01_0002")) is not None
    (tmp_path / "video").mkdir()
    (tmp_path / "votes.csv").write_text("name,source,family,label\n")
    found = find_differences(tmp_path, SEED, count=1)
    assert any(line.startswith("votes.csv: 1 lines") for line in found)
    assert any(line == "video/s01_0001.mp4: missing" for line in found)


def test_the_split_is_small() -> None:
    """It is committed to the repository."""
    assert sum(p.stat().st_size for p in DEMO.rglob("*") if p.is_file()) <= 10_000_000


def test_train_and_test_share_no_group() -> None:
    """120 labelled clips of 8 groups, 96 candidates of 4 others, 30 clips without a label."""
    train, test = column("truth_train.csv", "name", "discrete"), column("track1_test_dis.csv", "name", "discrete")
    train_groups, test_groups = {group(n) for n in train}, {group(n) for n in test}
    assert (len(train), len(train_groups), len(test), len(test_groups)) == (120, 8, 96, 4)
    assert not train_groups & test_groups
    pool = {p.stem for p in (DEMO / "video").iterdir()} - set(train) - set(test)
    assert len(pool) == 30
    assert not {group(n) for n in pool} & test_groups
    assert [row["name"] for row in table("track_all_candidates.csv")] == list(test)


@pytest.mark.parametrize("name", ["truth_train.csv", "track1_test_dis.csv"])
def test_classes_are_roughly_balanced(name: str) -> None:
    """Every class has at least a tenth of the clips and none a quarter."""
    counts = Counter(column(name, "name", "discrete").values())
    assert set(counts) == set(CLASSES)
    assert all(0.10 <= n / counts.total() < 0.25 for n in counts.values())
    assert len(set(counts.values())) > 1


def test_fifteen_percent_of_the_training_labels_are_wrong() -> None:
    """Exactly 18 of 120; the valence follows the truth."""
    given = column("track1_train_disdim.csv", "name", "discrete")
    truth = column("truth_train.csv", "name", "discrete")
    assert sum(given[n] != truth[n] for n in truth) == 18
    valence = {n: float(v) for n, v in column("track1_train_disdim.csv", "name", "valence").items()}
    mean = {c: np.mean([valence[n] for n in truth if truth[n] == c]) for c in CLASSES}
    assert mean["happy"] > mean["neutral"] > mean["sad"]


@pytest.mark.parametrize(("family", "right"), [("crowd", 0.80), ("listener", 0.76)])
def test_simulated_annotators_are_as_good_as_said(family: str, right: float) -> None:
    """A tenth of their votes is missing."""
    truth = column("truth_train.csv", "name", "discrete")
    votes = {r["name"]: r["label"] for r in table("votes.csv") if r["family"] == family}
    assert len(votes) == 108
    assert np.mean([votes[n] == truth[n] for n in votes]) == pytest.approx(right, abs=0.01)


def test_no_modality_alone_tells_the_class_and_all_together_do() -> None:
    """The limits of a perfect reader of the generating states."""
    limit = limits()
    assert all(limit[m] <= 0.70 for m in ("face", "voice", "words"))
    assert limit["all"] >= 0.85


def test_every_odd_kind_is_there_and_an_ordinary_clip_is_ordinary() -> None:
    """13 kinds; the ordinary clip has 25 frames of 240x320 at 12.5 frames/s and two seconds of sound."""
    assert len(table("odd.csv")) == 13
    frames, wave, times = decode(video("s01_0001"))
    assert frames.shape == (25, 240, 320, 3)
    assert np.allclose(np.diff(times), 0.08)
    assert 2.0 <= len(wave) / 16_000 < 2.1
    assert np.abs(wave).max() > 0.02


def test_zero_bytes() -> None:
    """The file is there and empty."""
    assert video(odd("zero bytes")).stat().st_size == 0


def test_truncated_promises_more_frames_than_it_has() -> None:
    """The header is whole, the media data stop in the middle."""
    path = video(odd("truncated"))
    with av.open(str(path)) as source:
        assert source.streams.video[0].frames == 25
    assert 0 < len(decode(path)[0]) < 25


def test_sound_tracks_that_are_missing_or_silent() -> None:
    """One file has no audio stream, another one of zeros."""
    with av.open(str(video(odd("no sound track")))) as source:
        assert len(source.streams.audio) == 0
        assert len(source.streams.video) == 1
    silent = decode(video(odd("silent sound track")))[1]
    assert len(silent) >= 32_000
    assert not silent.any()


def test_rotated_is_upright_after_turning() -> None:
    """Coded as landscape, every frame says by how much to turn it counter-clockwise."""
    with av.open(str(video(odd("rotated")))) as source:
        frames = list(source.decode(video=0))
    assert {f.rotation for f in frames} == {-90}
    upright = np.rot90(frames[0].to_ndarray(format="rgb24"), k=-1)
    assert upright.shape == (320, 240, 3)
    # The suit is below and the plain wall above: the top rows vary far less than the bottom ones.
    assert upright[:40].std() < upright[-40:].std()


def test_uneven_and_single_frames() -> None:
    """The times of one file differ from step to step, another has one frame."""
    steps = np.diff(decode(video(odd("variable frame rate")))[2])
    assert steps.min() > 0.02
    assert steps.max() > 2 * steps.min()
    frames, wave, _ = decode(video(odd("one frame")))
    assert len(frames) == 1
    assert len(wave) >= 32_000


def test_subtitles_that_do_not_match_the_clips() -> None:
    """One is empty, one clip has none, one row has no clip; a name may hold spaces and Chinese characters."""
    subtitles = {row["name"]: row for row in table("subtitle_chieng.csv")}
    clips = {p.stem for p in (DEMO / "video").iterdir()}
    empty = subtitles[odd("NaN subtitle")]
    assert (empty["chinese"], empty["english"]) == ("", "")
    assert clips - set(subtitles) == {odd("clip without a subtitle row")}
    assert set(subtitles) - clips == {odd("subtitle row without a clip")}
    name = odd("name with spaces and Chinese characters")
    assert " " in name
    assert not name.isascii()
    assert name in clips


def test_faces() -> None:
    """A detector finds one face in an ordinary clip, none in the still life, two of unequal size where it says so."""
    import torch
    from facenet_pytorch import MTCNN

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {}
        for name in ("s01_0001", odd("no face"), odd("two faces")):
            boxes, scores = MTCNN(keep_all=True).detect(decode(video(name))[0][12])
            found[name] = [] if boxes is None else [b for b, s in zip(boxes, scores, strict=True) if s > 0.9]
    finally:
        torch.set_num_threads(threads)
    assert [len(boxes) for boxes in found.values()] == [1, 0, 2]
    large, small = sorted((float(b[3] - b[1]) for b in found[odd("two faces")]), reverse=True)
    assert large > 1.5 * small
