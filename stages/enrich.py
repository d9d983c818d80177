"""Stage `enrich`: measured cues in words, joined to the transcript by the enrichment backend."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.enrich.cues import MeasureCues, cue_words
from mer_pipeline.enrich.transform import Enrich
from mer_pipeline.params import load_params
from mer_pipeline.store.shards import read_folder, write_table

WORDS_SCHEMA = pa.schema([("clip_id", pa.string()), ("words", pa.list_(pa.string()))])


@stage
def main() -> str:
    """Measure voice and face, put them in words against each speaker's habit, and enrich the transcripts."""
    params = load_params()
    measured = run_stage(MeasureCues(), "cues", params.shards, params.quality)
    manifest = pq.read_table("data/manifest.parquet", columns=["clip_id", "group"]).to_pylist()
    words = cue_words(
        read_folder(Path("data/cues")).to_pylist(),
        {row["clip_id"]: row["group"] for row in manifest},
        params.enrich.language,
    )
    rows = [{"clip_id": clip_id, "words": cues} for clip_id, cues in sorted(words.items())]
    write_table(Path("data/cue_words.parquet"), pa.Table.from_pylist(rows, WORDS_SCHEMA))
    enriched = run_stage(Enrich(params.enrich), "enriched", params.shards, params.quality)
    return f"{measured}\n{enriched}"


if __name__ == "__main__":
    typer.run(main)
