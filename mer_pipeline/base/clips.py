"""The clip: what a transform is handed, and the manifest that lists every clip of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from mer_pipeline.base.errors import Skip

# One row of a table; its columns and types are stated by an Arrow schema beside its producer.
Row: TypeAlias = Mapping[str, object]

SPLITS = ("train", "test", "pool")

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),  # the dataset's name for the clip, NFC
        pa.field("group", pa.string(), nullable=False),  # speaker or scene; the clip itself where unknown
        pa.field("order", pa.float64()),  # of the utterance within its group; null where the dataset has none
        pa.field("split", pa.string(), nullable=False),  # train: has a label; test: a candidate; pool: neither
        pa.field("label", pa.string()),  # as given; null unless split is train
        pa.field("video", pa.string()),  # path relative to the dataset's root
        pa.field("audio", pa.string()),  # a sound file of its own, relative to root; null: inside the video
        pa.field("fps", pa.float64()),  # as the dataset's CSV overrides it, frames per second
        pa.field("duration", pa.float64()),  # likewise, seconds
        pa.field("video_sha256", pa.string()),
        pa.field("audio_sha256", pa.string()),
        pa.field("width", pa.int32()),  # pixels, upright
        pa.field("height", pa.int32()),
        pa.field("seconds", pa.float64()),  # of the picture, or of the sound where there is no picture
        pa.field("frame_rate", pa.float64()),  # as the container says it
        pa.field("has_sound", pa.bool_(), nullable=False),
    ]
)

# Further columns where the dataset brings faces that others cut out.
GIVEN_FACES = (
    pa.field("faces", pa.string()),  # path relative to root, of an array of pictures
    pa.field("faces_sha256", pa.string()),
)

# Votes in long form: one row per clip and source; sources of one family are not independent of each other.
VOTES_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("clip_id", "source", "family", "label")]
)
GIVEN = "given"  # the source of the label that the dataset came with

PROBLEM_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),  # the class: BadInput, Transient, or what was raised
        pa.field("message", pa.string(), nullable=False),
        pa.field("input_digest", pa.string(), nullable=False),
        pa.field("traceback", pa.string()),  # of a bug: what was raised was none of the documented errors
    ]
)


@dataclass(frozen=True)
class Clip:
    """One clip as a transform sees it: a row of each table that the transform reads.

    Attributes:
        clip_id: its name.
        input_digest: hash of exactly what the transform declares it reads.
        rows: by table name; None where that table has no row for this clip.
    """

    clip_id: str
    input_digest: str
    rows: Mapping[str, Row | None]

    def need(self, table: str) -> Row:
        """The clip's row of a table.

        Raises:
            Skip: the table has none, or it is not valid; with the reason that it carries.
        """
        row = self.rows[table]
        if row is None:
            raise Skip(f"nothing in {table}")
        if row.get("valid") is False:
            raise Skip(str(row["reason"]))
        return row

    def maybe(self, table: str) -> Row | None:
        """The clip's row of a table, or None where it is absent or not valid."""
        row = self.rows[table]
        return None if row is None or row.get("valid") is False else row
