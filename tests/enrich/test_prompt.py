"""What a model is asked: all that is known of a clip but its label and its name."""

import csv
import json
import random
import shutil
from pathlib import Path

import pytest

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.datasets.folds import FoldParams
from mer_pipeline.datasets.ingest import IngestParams, ingest
from mer_pipeline.datasets.mer import MerParams
from mer_pipeline.enrich.ask import ByServerParams
from mer_pipeline.enrich.context import context_of
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import ShardParams, read_folder, read_parquet, write_no_rows, write_table
from mer_pipeline.tables.transcript import write_transcript
from mer_pipeline.text.transcribe import Transcribe
from tests.conftest import clip, rows_of, valid

ROOT = Path(__file__).parents[2]
PARAMS = ByServerParams(backend="openai", model="m", neighbours=2)


def prompts_of(dataset: Path, root: Path) -> dict[str, tuple[str, str]]:
    """Ingest a dataset and render the prompt of every clip, neighbours included."""
    project = Project(root)
    params = MerParams(
        root=str(dataset), csv=str(dataset), group_pattern=r"^(s\d\d)_", order_pattern=r"_(?:片段 )?(\d+)$",
        truth=("track1_test_dis.csv",),
    )  # fmt: skip
    runtime, shards = Runtime(), ShardParams(count=2)
    quality = QualityParams(max_failed=1.0)
    ingest(IngestParams(params, FoldParams(), shards, quality), project, runtime)
    write_no_rows(project.table("heard"), stage_schema(Transcribe.schema), shards)
    write_transcript(project.table("subtitles"), project.table("heard"), project.table("transcript"), shards)
    transcript = read_folder(project.table("transcript")).to_pylist()
    measures = [{"clip_id": row["clip_id"], "valid": False} for row in transcript]
    manifest = read_parquet(project.manifest).to_pylist()
    write_table(project.table("cue_words"), context_of(measures, transcript, manifest, PARAMS))
    places = {name: project.table(name) for name in ("transcript", "cue_words")}
    out = project.table("prompts")
    run(RenderPrompt(PARAMS, MER_CLASSES), places, out, project.quarantine("prompts"), shards=shards,
        quality=QualityParams(), runtime=runtime)  # fmt: skip
    return {str(row["clip_id"]): (str(row["system"]), str(row["user"])) for row in rows_of(out) if row["valid"]}


def relabelled(source: Path, target: Path) -> None:
    """The same dataset with every gold label another one."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("video"))
    (target / "video").symlink_to(source / "video")
    for name in ("track1_train_disdim.csv", "track1_test_dis.csv"):
        with (source / name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        deal = random.Random(0)
        for row in rows:
            row["discrete"] = deal.choice([label for label in MER_CLASSES if label != row["discrete"]])
        with (target / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def test_no_prompt_of_a_labelled_set_depends_on_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gold label of the demo is changed, and not one prompt changes; so none can have a label in it."""
    monkeypatch.setenv("MER_STORE", "none")
    monkeypatch.chdir(ROOT)
    demo = tmp_path / "demo"
    shutil.copytree(ROOT / "data/demo", demo)
    relabelled(demo, tmp_path / "other")
    (tmp_path / "other/video").unlink()
    shutil.copytree(demo / "video", tmp_path / "other/video")
    prompts, others = prompts_of(demo, tmp_path / "a"), prompts_of(tmp_path / "other", tmp_path / "b")
    assert len(prompts) > 200
    assert prompts == others
    with_neighbours = [json.loads(user) for _, user in prompts.values() if "before" in json.loads(user)]
    assert len(with_neighbours) > 200
    # Names of clips often spell the label (03-01-05-...), so they are not there either.
    assert not [name for name, (_, user) in prompts.items() if name in user]
    # The message has no class name but what people said; the instructions name all classes alike.
    assert all(all(f'"{label}"' in system for label in MER_CLASSES) for system, _ in prompts.values())
    assert len({system for system, _ in prompts.values()}) == 1


def test_the_transform_cannot_see_a_label() -> None:
    """Nor the manifest, where labels are."""
    columns = {(source.table, name) for source in RenderPrompt.sources for name in source.columns}
    assert columns == {("transcript", "zh"), ("transcript", "en"), ("cue_words", "words"), ("cue_words", "before"),
                       ("cue_words", "after")}  # fmt: skip


def test_the_message_has_what_is_known_and_nothing_empty() -> None:
    """Keys without anything to say are left out."""
    render = RenderPrompt(PARAMS, MER_CLASSES)
    words = {"words": ["voice higher"], "before": ["Hi."], "after": []}
    item = render.prepare(clip(transcript=valid(zh=None, en="Hello."), cue_words=words))
    (row,) = render.infer([item])
    assert isinstance(row, dict)
    assert json.loads(row["user"]) == {"english": "Hello.", "before": ["Hi."], "voice and face": ["voice higher"]}
    assert json.loads(row["schema"])["properties"]["scores"]["required"] == list(MER_CLASSES)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_prompts_name_classes_and_limits(language: str) -> None:
    """Both languages, with nothing left to fill in."""
    render = RenderPrompt(PARAMS.model_copy(update={"language": language, "max_chars": 123}), ("calm", "very happy"))
    (row,) = render.infer([render.prepare(clip(transcript=valid(zh="好", en=None), cue_words=None))])
    assert isinstance(row, dict)
    assert '"calm", "very happy"' in row["system"]
    assert "123" in row["system"]
    assert "$" not in row["system"]


def test_a_prompt_counts_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of the file is another fingerprint; a missing one is named."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")

    def fingerprint() -> str:
        return fingerprint_of(RenderPrompt(PARAMS, MER_CLASSES), "any").id

    before = fingerprint()
    path = tmp_path / "prompts/context.en.md"
    text = path.read_text()
    path.write_text(text + "\nBe brief.\n")
    assert fingerprint() != before
    path.write_text(text)
    assert fingerprint() == before
    with pytest.raises(ParamsError, match=r"there is no prompts/nuance\.en\.md"):
        RenderPrompt(PARAMS.model_copy(update={"prompt": "nuance"}), MER_CLASSES)
