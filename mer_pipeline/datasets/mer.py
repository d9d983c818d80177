"""The adapters of the MER2025 and MER2026 challenges, for their folders as released.

video/{name}.mp4   audio/{name}.wav   subtitle_chieng.csv (name,chinese,english)
MER2025: track1_train_disdim.csv (name,discrete,...)   track_all_candidates.csv (name)
MER2026: track1_train.csv                              track1_track2_candidate.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import model_validator

from mer_pipeline.base.csv_files import check_label, clean, present, read_csv
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.datasets.adapter import Adapter, DatasetParams
from mer_pipeline.datasets.listing import Listing, Note, add_media
from mer_pipeline.media.container import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from mer_pipeline.media.files import files_below

SUBTITLES = "subtitle_chieng.csv"


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

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder has the CSV of this release and a folder of videos."""
        return (folder / cls.train).exists() and (folder / "video").is_dir()

    def listing(self) -> Listing:
        """List the files of the folder and join the rows of its CSVs to them.

        Raises:
            DatasetError: if the folder or one of its CSVs is not as released.
        """
        root = Path(self.params.root)
        train, candidates, subtitles = root / self.train, root / self.candidates, root / SUBTITLES
        if not (root / "video").is_dir() and not (root / "audio").is_dir():
            raise DatasetError(
                f"{root} has neither video/ nor audio/; is dataset.adapter = '{self.params.adapter}' right?"
            )
        if not train.exists() and not candidates.exists():
            raise DatasetError(
                f"{root} has neither {train.name} nor {candidates.name}; another release? see dataset.adapter"
            )
        listing = Listing()
        videos = files_below(root / "video", root, VIDEO_SUFFIXES)
        sounds = files_below(root / "audio", root, AUDIO_SUFFIXES)
        add_media(listing, videos, sounds)
        if train.exists():
            for row in read_csv(train, ("name", "discrete")):
                label = check_label(row["discrete"], self.params.classes, f"{train}, '{row['name']}'")
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
        return listing


class Mer2026(Mer2025):
    """The adapter of MER2026. Its layout is that of MER2025 with other names of files."""

    train: ClassVar = "track1_train.csv"
    candidates: ClassVar = "track1_track2_candidate.csv"


def _add_subtitles(listing: Listing, path: Path) -> None:
    for row in read_csv(path, ("name", "chinese", "english")):
        name = clean(row["name"])
        if name in listing.entries:
            listing.update(name, path.name, zh=present(row["chinese"]), en=present(row["english"]))
        else:
            listing.notes.append(Note(name, "NoClip", f"{path.name} has a subtitle for a clip that is not there"))
