"""The adapter `folder`: a plain folder of clips, and a CSV that describes them. Without a CSV no clip has a label.

anything/below/it.mp4                    a clip with the name "anything/below/it"
video/a.mp4 and audio/a.wav              one clip with the name "a"
CSV: name[,label][,split][,group][,order][,transcript][,fps][,duration]; params.yaml may name the columns otherwise

The column label holds one class, or for `target: multilabel` several. Instead of it, `multilabel` may have one column
of 0 and 1 for each class. For `target: regression` the columns in `dataset.values` hold the numbers.

With `dataset.media: false` no media file is looked for, and the names in the CSV are the clips. This is for features
that were made elsewhere, and for transcripts without media.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from math import isfinite
from pathlib import Path, PurePosixPath

from mer_pipeline.base.clips import SPLITS
from mer_pipeline.base.csv_files import known, present, read_csv, read_header
from mer_pipeline.base.errors import DatasetError, did_you_mean
from mer_pipeline.config.section import Section
from mer_pipeline.datasets.adapter import Adapter, DatasetParams
from mer_pipeline.datasets.listing import Entry, Listing, about_unread, add_media, mend
from mer_pipeline.media.container import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from mer_pipeline.media.files import UNREAD_SUFFIXES, files_below, unread_below

SUFFIXES = VIDEO_SUFFIXES | AUDIO_SUFFIXES | UNREAD_SUFFIXES  # that a CSV's name may have


class ColumnParams(Section):
    """Names of the columns in the CSV. Every column except `name` may be absent."""

    name: str = "name"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    order: str = "order"
    transcript: str = "transcript"
    fps: str = "fps"
    duration: str = "duration"


class FolderParams(DatasetParams):
    """A plain folder of clips, and a CSV that describes them. Without a CSV every clip is unlabelled."""

    media: bool = True  # false: there are no media files, and the CSV alone says which clips exist
    columns: ColumnParams = ColumnParams()  # names of the columns in the CSV


class Folder(Adapter):
    """The adapter of a plain folder of clips with a CSV."""

    Params = FolderParams
    params: FolderParams

    def listing(self) -> Listing:
        """List the files of the folder and join the rows of the CSV to them.

        Raises:
            DatasetError: if there should be media files and there are none, or if the CSV is not as described above.
        """
        params, root = self.params, Path(self.params.root)
        if not params.media:
            if Path(params.csv) == root:
                raise DatasetError(
                    "dataset.media is false, so dataset.csv must name the CSV that says which clips there are"
                )
            listing = Listing()
            _add_csv(listing, params, Path(params.csv))
            return listing
        videos, sounds = (
            _below(root, kind, suffixes) for kind, suffixes in (("video", VIDEO_SUFFIXES), ("audio", AUDIO_SUFFIXES))
        )
        unread = unread_below(root)
        if not videos and not sounds:
            suffixes = " ".join(sorted(VIDEO_SUFFIXES | AUDIO_SUFFIXES))
            remedy = "if there are none, set dataset.media: false (mer init: --no-media)"
            if unread:
                remedy = f"{about_unread(unread)}: {mend(min(unread.values()))}"
            raise DatasetError(f"no media below {root} (looked for {suffixes}); {remedy}")
        listing = Listing(unread=unread)
        add_media(listing, videos, sounds)
        if Path(params.csv) != root:
            _add_csv(listing, params, Path(params.csv))
        return listing


def _below(root: Path, kind: str, suffixes: frozenset[str]) -> dict[str, str]:
    """List the files of one kind ("video" or "audio"); a file in the folder of that name is named from there."""
    inside = files_below(root / kind, root, suffixes)
    taken = set(inside.values())
    others = {name: place for name, place in files_below(root, root, suffixes).items() if place not in taken}
    for name in others.keys() & inside.keys():
        raise DatasetError(f"two files are called '{name}': {inside[name]} and {others[name]}; rename or remove one")
    return {**others, **inside}


def _add_csv(listing: Listing, params: FolderParams, path: Path) -> None:
    columns = params.columns
    names = _Names(listing)
    # If params.yaml names a column, the CSV must have it. Without the speakers, for instance, scores would be too high.
    asked = {columns.name, *(getattr(columns, key) for key in columns.model_fields_set)}
    target, header = params.predicts, read_header(path)
    if target.kind != "class" and not {columns.label, *target.names}.isdisjoint(header):
        # A clip without a label needs no cells, but a file with some of the columns lacks the others by mistake.
        asked |= {*(target.names if columns.label not in header else target.columns(columns.label))}
    for row in read_csv(path, sorted(asked), unique=columns.name):
        name = names.find(row[columns.name], path)
        if not params.media:
            listing.entries[name] = Entry(name)  # added here, so that `update` makes no note of a missing file
        where = f"{path}, '{name}'"
        label = target.read(row, columns.label, where)
        split = known(row.get(columns.split)) or ("train" if label is not None else "pool")
        if split not in SPLITS:
            raise DatasetError(f"{where}: unknown split '{split}'{did_you_mean(split, SPLITS)}")
        if split == "train" and label is None:
            raise DatasetError(f"{where}: a training clip needs a label; give one or set its split to 'pool'")
        transcript = present(row.get(columns.transcript))
        chinese = transcript is not None and is_chinese(transcript)
        if split != "train" and label is not None:
            listing.truth[name] = label  # used for evaluation only, and never shown to a head
        listing.update(
            name,
            path.name,
            split=split,
            label=label if split == "train" else None,
            group=known(row.get(columns.group)),
            order=_number(row, columns.order, where, positive=False),
            zh=transcript if chinese else None,
            en=None if chinese else transcript,
            fps=_number(row, columns.fps, where),
            duration=_number(row, columns.duration, where),
        )
    lost = all(listing.entries[name].video is listing.entries[name].audio is None for name in names.seen)
    if params.media and names.seen and lost:
        example, there = next(iter(names.seen)), next(iter(names.files))
        why = f"it says '{example}', there is '{there}'"
        if example in listing.unread:
            why = f"it says '{example}', and {listing.why_not(example)}"
        raise DatasetError(f"{path}: none of its names is a file below {params.root}: {why}")


class _Names:
    """Find clips by their names in a CSV.

    A CSV may call a clip by its path with or without suffix, or by its file's name alone if only one clip has it.
    """

    def __init__(self, listing: Listing) -> None:
        self.known = listing.entries
        self.files = tuple(listing.entries)
        self.bare: dict[str, str] = {}
        counts = Counter(PurePosixPath(name).name for name in listing.entries)
        for name in listing.entries:
            if counts[PurePosixPath(name).name] == 1:
                self.bare[PurePosixPath(name).name] = name
        self.seen: dict[str, str] = {}

    def find(self, written: str, path: Path) -> str:
        pure = PurePosixPath(written)
        plain = pure.with_suffix("").as_posix() if pure.suffix.lower() in SUFFIXES else written
        name = next((n for n in (written, plain, self.bare.get(plain)) if n is not None and n in self.known), plain)
        if name in self.seen:
            raise DatasetError(f"{path}: '{written}' and '{self.seen[name]}' are the same clip; keep one of the rows")
        self.seen[name] = written
        return name


def is_chinese(text: str) -> bool:
    """Say whether a text has a Chinese character.

    Example:
        >>> is_chinese("你好"), is_chinese("hello")
        (True, False)
    """
    return any("CJK UNIFIED" in unicodedata.name(char, "") for char in text)


def _number(row: Mapping[str, str], column: str, where: str, *, positive: bool = True) -> float | None:
    text = known(row.get(column))
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or (positive and value <= 0):
        raise DatasetError(f"{where}: {column} must be a {'positive ' if positive else ''}number, not '{text}'")
    return value
