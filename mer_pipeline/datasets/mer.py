"""The adapters of the MER2025 and MER2026 challenges, for their folders as released.

video/{name}.mp4   audio/{name}.wav   subtitle_chieng.csv (name,chinese,english)
openface_face/{name}/{name}.npy or openface_face/{name}.npy
MER2025: track1_train_disdim.csv (name,discrete,...)   track_all_candidates.csv (name)          track1_test_dis.csv
MER2026: track1_train.csv (name,discrete)              track1_track2_candidate.csv (name)       track1_test.csv

Any of the three folders may be absent: most people download sounds and faces only. The last CSV has the true labels of
the test's clips (name,discrete), where somebody has them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pydantic import model_validator

from mer_pipeline.base.csv_files import clean, present, read_csv
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.datasets.adapter import Adapter, DatasetParams
from mer_pipeline.datasets.listing import Listing, Note, add_media
from mer_pipeline.media.container import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from mer_pipeline.media.files import files_below, unread_below

SUBTITLES = "subtitle_chieng.csv"
FACES = "openface_face"
FOLDERS = {"video": VIDEO_SUFFIXES, "audio": AUDIO_SUFFIXES, FACES: frozenset({".npy"})}
# An archive, or a piece of one: video.zip, video.z01, video.7z.001, video.tar.gz, video.part1.rar.
ARCHIVE = re.compile(r"\.(zip|z\d\d|7z|rar|tar|tgz|gz)(\.\w{1,3})?$", re.IGNORECASE)


class MerParams(DatasetParams):
    """The folder of a MER challenge, as released."""

    @model_validator(mode="after")
    def _has_no_csv(self) -> MerParams:
        if Path(self.csv) != Path(self.root):
            raise ValueError(
                f"csv: adapter '{self.adapter}' reads the CSVs in root; write '{self.root}' here again, because DVC "
                "watches both"
            )
        return self


class Mer2025(Adapter):
    """The adapter of MER2025.

    Attributes:
        train: the name of the CSV with the labelled clips.
        candidates: the name of the CSV with the candidates.
    """

    Params = MerParams
    train: ClassVar = "track1_train_disdim.csv"
    candidates: ClassVar = "track_all_candidates.csv"
    truths = ("track1_test_dis.csv",)
    language = "zh"

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Whether it has the CSV of this release, and a folder of media."""
        return (folder / cls.train).exists() and any((folder / name).is_dir() for name in FOLDERS)

    def listing(self) -> Listing:
        """List the files of the folder and join the rows of its CSVs to them.

        Raises:
            DatasetError: it is no such folder, or one of its CSVs is not as released, or no name in them is a file.
        """
        root = Path(self.params.root)
        train, candidates, subtitles = root / self.train, root / self.candidates, root / SUBTITLES
        hints = _hints(root, self.train)
        if not any((root / name).is_dir() for name in FOLDERS):
            raise DatasetError(
                f"{root} has neither video/ nor audio/ nor {FACES}/; is dataset.adapter = '{self.params.adapter}' "
                f"right?{_after(hints)}"
            )
        if not train.exists() and not candidates.exists():
            raise DatasetError(
                f"{root} has neither {train.name} nor {candidates.name}; another release? see dataset.adapter"
                f"{_after(hints)}"
            )
        videos, sounds, faces = (files_below(root / name, root, suffixes) for name, suffixes in FOLDERS.items())
        faces = _of_clips(faces)
        listing = Listing(unread={**unread_below(root / "audio"), **unread_below(root / "video")})
        add_media(listing, videos, sounds, faces)
        found = set(listing.entries)
        if train.exists():
            target = self.params.predicts
            for row in read_csv(train, ("name", *target.columns("discrete"))):
                label = target.read(row, "discrete", f"{train}, '{row['name']}'")
                if label is None:
                    raise DatasetError(f"{train}, '{row['name']}': a training clip needs a label")
                listing.update(row["name"], train.name, split="train", label=label)
        if candidates.exists():
            for row in read_csv(candidates, ("name",)):
                entry = listing.entries.get(row["name"])
                if entry is not None and entry.split == "train":
                    raise DatasetError(
                        f"'{row['name']}' is in both {train.name} and {candidates.name}; remove it from one"
                    )
                listing.update(row["name"], candidates.name, split="test")
        if subtitles.exists():
            _add_subtitles(listing, subtitles)
        _check_found(root, listing, found, [*_nested(found, videos | sounds | faces, root), *hints])
        return listing


class Mer2026(Mer2025):
    """The adapter of MER2026. Its layout is that of MER2025 with other names of files."""

    train: ClassVar = "track1_train.csv"
    candidates: ClassVar = "track1_track2_candidate.csv"
    truths = ("track1_test.csv",)


def _of_clips(faces: dict[str, str]) -> dict[str, str]:
    """Arrays by clip, whether or not each lies in a folder of its own.

    Raises:
        DatasetError: a clip has two.
    """
    found: dict[str, str] = {}
    for name, place in faces.items():
        folder, _, last = name.rpartition("/")
        clip = last if folder == last else name
        if clip in found:
            raise DatasetError(f"clip '{clip}' has two arrays of faces: {found[clip]} and {place}; remove one")
        found[clip] = place
    return found


def _check_found(root: Path, listing: Listing, found: set[str], hints: list[str]) -> None:
    """Note what is odd about the files.

    Raises:
        DatasetError: there is none, or no name in the CSVs is one.
    """
    named = [entry.clip_id for entry in listing.entries.values() if entry.split != "pool"]
    if named and found.isdisjoint(named):
        there = f"there is '{min(found)}'" if found else f"there are no files ({listing.why_not(named[0])})"
        raise DatasetError(f"{root}: no name in its CSVs is a file: they say '{named[0]}', {there}{_after(hints)}")
    listing.notes += [Note(min(listing.entries, default=""), "Layout", hint) for hint in hints]


def _nested(found: set[str], places: dict[str, str], root: Path) -> list[str]:
    """What to do about files that lie too deep, such as video/video/a.mp4."""
    deep = sorted(name for name in found if "/" in name)
    if not deep:
        return []
    place = root / places[deep[0]]
    return [
        f"{len(deep)} files lie too deep, the first is {place}: move them to {root / places[deep[0]].split('/')[0]}/"
    ]


def _hints(root: Path, train: str) -> list[str]:
    """What a folder may need before it can be read: archives that are still packed, or another root."""
    places = [folder for folder in (root, *(root / name for name in FOLDERS)) if folder.is_dir()]
    packed = sorted(path.name for folder in places for path in folder.iterdir() if ARCHIVE.search(path.name))
    hints = [f"{len(packed)} archives still lie there, the first is {packed[0]}: unpack them"] if packed else []
    if not (root / train).exists():
        below = sorted(path.parent for path in root.glob(f"*/{train}"))
        hints += [f"{below[0]} has {train}: set dataset.root to it"] if below else []
    return hints


def _after(hints: list[str]) -> str:
    return "".join(f"; {hint}" for hint in hints)


def _add_subtitles(listing: Listing, path: Path) -> None:
    for row in read_csv(path, ("name", "chinese", "english")):
        name = clean(row["name"])
        if name in listing.entries:
            listing.update(name, path.name, zh=present(row["chinese"]), en=present(row["english"]))
        else:
            listing.notes.append(Note(name, "NoClip", f"{path.name} has a subtitle for a clip that is not there"))
