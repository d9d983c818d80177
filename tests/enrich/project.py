"""A project with transcripts and nothing else: what the stage `enrich` needs to run, without media or DVC."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import MANIFEST_SCHEMA, Row
from mer_pipeline.config.params import load_params
from mer_pipeline.speech.track import AudioParams, ExtractAudio
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table
from mer_pipeline.tables.shards import read_folder, shard_name, shard_of, write_shard, write_table
from mer_pipeline.vision.faces import ChooseFace
from tests.forks import python

ROOT = Path(__file__).parents[2]
SHARDS = 4


def make_project(folder: Path, texts: Mapping[str, str], **enrich: object) -> Path:
    """Write tables as ingest, faces and audio would, for clips that have only English words."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    set_enrich(folder, **enrich)
    data = folder / "data"
    manifest = [dict.fromkeys(MANIFEST_SCHEMA.names) | {"clip_id": name, "group": name, "split": "pool",
                                                        "has_sound": False} for name in texts]  # fmt: skip
    write_table(data / "manifest.parquet", to_table(manifest, MANIFEST_SCHEMA))
    words = pa.schema([pa.field("zh", pa.string()), pa.field("en", pa.string())])
    rows: list[list[Row]] = [[] for _ in range(SHARDS)]
    for name, text in texts.items():
        rows[shard_of(name, SHARDS)].append(complete_row(name, name, {"zh": None, "en": text}, None, words))
    empty: list[list[Row]] = [[] for _ in range(SHARDS)]
    for table, schema, buckets in (
        ("transcript", words, rows),
        ("audio", ExtractAudio(AudioParams(), Path()).schema, empty),
        ("faces", ChooseFace.schema, empty),
    ):
        for bucket, members in enumerate(buckets):
            write_shard(data / table, bucket, members, stage_schema(schema), {})
            assert (data / table / shard_name(bucket)).exists()
    return folder


def set_enrich(folder: Path, **enrich: object) -> None:
    """Write params.yaml: the demo's with another section `enrich`."""
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("enrich:"))
    lines[at] = f"enrich: {json.dumps(enrich)}"
    (folder / "params.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    load_params(folder / "params.yaml")


def settings(folder: Path, **llm: object) -> None:
    """Write .mer.toml with a section [llm]."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in llm.items()]
    (folder / ".mer.toml").write_text("\n".join(["workers = 2", "[llm]", *lines]) + "\n", encoding="utf-8")


def start_stage(folder: Path, **env: str) -> subprocess.Popen[str]:
    """Start the stage in the project, without DVC."""
    return subprocess.Popen(
        [python(), str(ROOT / "stages/enrich.py")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MER_STORE": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_stage(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the stage to its end."""
    process = start_stage(folder, **env)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def table(folder: Path, name: str) -> dict[str, Row]:
    """The rows of a table by clip."""
    rows = read_folder(folder / "data" / name).to_pylist()
    return {str(row["clip_id"]): row for row in sorted(rows, key=lambda row: str(row["clip_id"]))}
