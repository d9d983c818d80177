"""The card of the features, on tables that the real runner wrote."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest

from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.errors import StageError, UsageError
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.cli.card import export_card
from mer_pipeline.config.project import Project
from mer_pipeline.models.lock import LOCK, hashes_of, lock_models
from mer_pipeline.models.origin import Origin, write_origin
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import complete_row, stage_schema
from mer_pipeline.tables.shards import ShardParams, provenance_of, shard_name, write_shard, write_table

WORDS = {"a": "What a day!", "b": None, "c": "No."}
SPEC = "dir:tiny"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two encoders' features of three clips, of which one has no words and one has no row."""
    root = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        rows = [{"clip_id": name, "split": "train", "label": "sad", "group": "anna"} for name in (*WORDS, "d")]
        rows[-1] |= {"split": "pool", "label": None}
        write_table(Path("data/manifest.parquet"), pa.Table.from_pylist(rows))
        schema = pa.schema([("zh", pa.string()), ("en", pa.string())])
        said = [
            complete_row(
                name, name, {"zh": None, "en": text} if text else None, None if text else "no subtitle", schema
            )
            for name, text in WORDS.items()
        ]
        Path("data/transcript").mkdir()
        write_shard(Path("data/transcript"), 0, said, stage_schema(schema), {})
        make_tiny("bert", Path("tiny"), 0)
        write_origin(
            Path("tiny"), Origin(SPEC, "org/tiny", "c0ffee", "apache-2.0", {"model.bin": "0"}, hashes_of(SPEC))
        )
        lock_models({"meaning": SPEC})
        words = {"family": "char-ngram", "input": "transcript", "dim": 32}
        meaning = {"family": "hf-text", "input": "transcript", "checkpoint": SPEC, "layers": 2, "dtype": "float16"}
        for name, section in (("words", words), ("meaning", meaning)):
            run(
                make_encoder(name, ENCODER.parse(section)),
                {"transcript": Path("data/transcript")},
                Path("data/features", name),
                Path("quarantine.parquet"),
                shards=ShardParams(count=1),
                quality=QualityParams(),
                runtime=Runtime(device="cpu", store=StoreSettings(url="store")),
            )
        (root / "data/features/mine").mkdir()  # a person's own, which no stage wrote
        write_table(root / "data/features/mine" / shard_name(0), pa.table({"x": [1]}))
    return root


@pytest.fixture
def project(features: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, as the current folder."""
    monkeypatch.chdir(features)
    return Project()


def sections(card: str) -> dict[str, dict[str, str]]:
    """The rows of each table of a card, first cell to the others, by the heading above it."""
    found: dict[str, dict[str, str]] = {}
    for line in card.splitlines():
        if line.startswith("## "):
            found[line[3:]] = {}
        elif line.startswith("| ") and not line.startswith("| ---"):
            first, _, rest = line.strip("| ").partition(" | ")
            list(found.values())[-1][first] = rest
    return found


def test_a_table_is_described_by_its_footer(project: Project) -> None:
    """Encoder, family, params, code, dimensions, rows and what is missing; there is no params.yaml to read."""
    tables = sections(export_card(project, None))
    assert list(tables) == ["Dataset", "meaning", "words", "Licences of the checkpoints", "Libraries"]
    parts = json.loads(provenance_of(project.table("features/words") / shard_name(0))["parts"])
    facts = tables["words"]
    assert (facts["family"], facts["input"], facts["checkpoint"]) == ("char-ngram", "transcript", "none")
    assert facts["params"] == "dim: 32; others have their defaults"
    assert facts["dimensions"] == "32 (float32)"
    assert facts["rows"] == "3 of 4 clips"
    assert facts["missing"] == "2 (no subtitle 1, quarantined by this or an earlier stage 1)"
    assert facts["code fingerprint"] == parts["code"]
    made = make_encoder("words", ENCODER.parse({"family": "char-ngram", "input": "transcript", "dim": 32}))
    assert facts["fingerprint"] == fingerprint_of(made, "cpu").id
    assert tables["meaning"]["dimensions"].endswith("(float16)")
    assert tables["Libraries"]["transformers"] == f"{version('transformers')} | meaning"
    assert tables["Dataset"]["train"] == "3 | 3 | 1 | sad 3"


def test_a_checkpoint_is_described_by_models_lock(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its origin and licence; that it is another one now, has no origin or is not locked is said instead."""
    text = export_card(project, None)
    said = sections(text)["meaning"]["checkpoint"]
    assert said.startswith("dir:tiny: org/tiny at c0ffee, licence apache-2.0; files: config.json ")
    assert f"model.safetensors {hashes_of(SPEC)['model.safetensors'][:12]}" in said
    assert "- dir:tiny: apache-2.0" in text
    lock = LOCK.read_text()
    entry = json.loads(lock)["meaning"]
    for other, says in (
        ({"meaning": entry["files"]}, "no origin on record"),
        ({"meaning": {**entry, "files": {**entry["files"], "model.safetensors": "0" * 64}}}, "has another one now"),
        ({}, "not in models.lock"),
    ):
        LOCK.write_text(json.dumps(other))
        assert says in sections(export_card(project, None))["meaning"]["checkpoint"]
    LOCK.write_text(lock)


def test_the_card_is_written_to_a_file(project: Project) -> None:
    """With the folders above it; a place where no file can be is one sentence."""
    said = export_card(project, Path("to/give/CARD.md"))
    assert said == "wrote to/give/CARD.md: 2 tables of features"
    assert Path("to/give/CARD.md").read_text() == export_card(project, None) + "\n"
    with pytest.raises(UsageError, match=r"tiny/config\.json/CARD\.md cannot be written .*--out"):
        export_card(project, Path("tiny/config.json/CARD.md"))


def test_there_is_nothing_to_describe(tmp_path: Path) -> None:
    """No features, and shards of two runs in one folder."""
    with pytest.raises(UsageError, match=r"there are no features .*dvc repro"):
        export_card(Project(tmp_path), None)
    values = pa.schema([("vector", pa.list_(pa.float32(), 1))])
    folder = tmp_path / "data/features/x"
    for shard in range(2):
        footer = {"transform": "embed-x", "fingerprint": str(shard), "parts": "{}"}
        write_shard(folder, shard, [], stage_schema(values), footer)
    with pytest.raises(StageError, match=re.escape("were not made by one run")):
        export_card(Project(tmp_path), None)
