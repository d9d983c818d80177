"""The split's CSV files, in the layout of MER2025, and those that only an evaluation may read."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from generator.clip import subtitle
from generator.odd import ROW_WITHOUT_CLIP, Odd
from generator.plan import Clip, confuse, rng_of

VALENCE = {"neutral": 0.2, "angry": -3.0, "happy": 3.2, "sad": -2.6, "worried": -1.5, "surprise": 0.8}
"""Mean valence of each class on the scale of MER2025, -5..5."""

ANNOTATORS = {("crowd_1", "crowd"): 0.80, ("listener_1", "listener"): 0.76}
"""The simulated annotators (source, family) and how often each is right."""

MISSING = 0.10

Table = list[tuple[str, ...]]


def make_tables(seed: int, clips: Sequence[Clip], odds: Sequence[Odd]) -> dict[str, Table]:
    """Every CSV file by name, each with its heading."""
    train = [c for c in clips if c.split == "train"]
    test = [c for c in clips if c.split == "test"]
    return {
        "subtitle_chieng.csv": [("name", "chinese", "english"), *_subtitles(seed, clips, odds)],
        "track1_train_disdim.csv": [
            ("name", "discrete", "valence"), *((c.name, c.given, _valence(seed, c)) for c in train)
        ],
        "track_all_candidates.csv": [("name",), *((c.name,) for c in test)],
        "track1_test_dis.csv": [("name", "discrete"), *((c.name, c.label) for c in test)],
        "truth_train.csv": [("name", "discrete"), *((c.name, c.label) for c in train)],
        "votes.csv": [("name", "source", "family", "label"), *_votes(seed, train)],
        "odd.csv": [("name", "what", "expected", "note"), *((o.name, o.what, o.expected, o.note) for o in odds)],
    }  # fmt: skip


def write_tables(tables: dict[str, Table], folder: Path) -> None:
    """Write them as UTF-8 with plain newlines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _subtitles(seed: int, clips: Sequence[Clip], odds: Sequence[Odd]) -> Table:
    what = {o.name: o.what for o in odds}
    rows: Table = []
    for clip in clips:
        if what.get(clip.name) == "clip without a subtitle row":
            continue
        pair = ("", "") if what.get(clip.name) == "NaN subtitle" else subtitle(seed, clip)
        rows.append((clip.name, *pair))
    return [*rows, (ROW_WITHOUT_CLIP, "这一段的录像丢了。", "the recording of this one is lost.")]


def _valence(seed: int, clip: Clip) -> str:
    noisy = VALENCE[clip.label] + 0.7 * rng_of(seed, "valence", clip.name).normal()
    return f"{min(max(noisy, -5.0), 5.0):.1f}"


def _votes(seed: int, train: Sequence[Clip]) -> Table:
    rows: Table = []
    for (source, family), right in ANNOTATORS.items():
        rng = rng_of(seed, "votes", source)
        order = [train[i] for i in rng.permutation(len(train))]
        voted = order[round(MISSING * len(order)) :]
        hits = round(right * len(voted))
        labels = {c.name: c.label if k < hits else confuse(c.label, rng) for k, c in enumerate(voted)}
        rows += [(c.name, source, family, labels[c.name]) for c in train if c.name in labels]
    return rows
