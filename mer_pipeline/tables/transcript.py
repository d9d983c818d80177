"""The table `transcript`: the words of each clip, in two columns by language.

    subtitles (what the dataset brings) ─┬─► transcript     a clip's own subtitle is never replaced
    heard (what a recogniser heard) ─────┘

`zh` has Chinese, and `en` has the words of every other language (docs/decisions.md). The table `subtitles` has the same
two columns. `heard` says whether a recogniser heard the words. A row's digest depends on the words alone, and not on
where they are from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.tables.rows import complete_row, digest, stage_schema
from mer_pipeline.tables.shards import ShardParams, new_folder, read_shard, write_shard

SCHEMA = pa.schema([pa.field("zh", pa.string()), pa.field("en", pa.string())])
TRANSCRIPT = SCHEMA.append(pa.field("heard", pa.bool_()))  # null where a clip has no words
NO_SUBTITLE = "no subtitle"
CHINESE = frozenset({"zh", "yue"})  # the language codes whose words stand in `zh`


def transcript_row(clip_id: str, zh: str | None, en: str | None, reason: str = NO_SUBTITLE) -> Row:
    """Return a clip's row of the table `subtitles` or `transcript`.

    Args:
        clip_id: the clip.
        zh: its words in Chinese; None if there are none.
        en: its words in another language; None if there are none.
        reason: why it has no words, if it has none.
    """
    words = {"zh": zh, "en": en}
    silent = zh is None and en is None
    return complete_row(clip_id, digest(words), None if silent else words, reason if silent else None, SCHEMA)


def with_heard(subtitle: Row, heard: Row | None) -> Row:
    """Return a clip's row of the table `transcript`.

    Args:
        subtitle: its row of the table `subtitles`.
        heard: its row of the table `heard`, with `text`, `language`, `valid` and `reason`; None if it has none.

    Returns:
        The subtitle if there is one, else the words that were heard. A clip without either has the reason why nothing
        was heard.

    Example:
        >>> heard = {"text": "Guten Tag.", "language": "de", "valid": True, "reason": None}
        >>> with_heard(transcript_row("a", None, None), heard)["en"]
        'Guten Tag.'
    """
    if subtitle["valid"] or heard is None:
        return subtitle
    name = str(subtitle["clip_id"])
    if not heard["valid"]:
        return transcript_row(name, None, None, str(heard["reason"]))
    text = str(heard["text"])
    return transcript_row(name, text, None) if heard["language"] in CHINESE else transcript_row(name, None, text)


def write_transcript(subtitles: Path, heard: Path, out: Path, shards: ShardParams) -> int:
    """Write the table `transcript`.

    Args:
        subtitles: the folder of the table `subtitles`.
        heard: the folder of the table `heard`, which may have no rows.
        out: the folder to write.
        shards: the number of shards of all three.

    Returns:
        The number of clips that have words.
    """
    spoken = 0
    with new_folder(out) as folder:
        for shard in range(shards.count):
            listed = read_shard(heard, shard, shards.count, ["clip_id", "text", "language", "valid", "reason"])
            found: Mapping[str, Row] = {row["clip_id"]: row for row in listed.to_pylist()}
            given = read_shard(subtitles, shard, shards.count).to_pylist()
            rows = [with_heard(row, found.get(row["clip_id"])) for row in given]
            rows = [
                {**row, "heard": not subtitle["valid"] if row["valid"] else None}
                for row, subtitle in zip(rows, given, strict=True)
            ]
            spoken += sum(bool(row["valid"]) for row in rows)
            write_shard(folder, shard, rows, stage_schema(TRANSCRIPT), {"transform": "transcript", "shard": str(shard)})
    return spoken
