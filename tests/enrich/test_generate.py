"""A checkpoint in this process: small, random, in the real format, through the real chat template and `generate`."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mer_pipeline.base.errors import CheckpointError, ParamsError, Skip
from mer_pipeline.config.params import parse_params
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich import generate as module
from mer_pipeline.enrich.ask import ByServerParams
from mer_pipeline.enrich.generate import ByCheckpointParams, Generate
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.models.lock import checkpoints_of, lock_models
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.store.fingerprint import fingerprint_of
from tests.conftest import clip, valid
from tests.enrich.project import make_project, run_stage, table


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("chat", tmp_path_factory.mktemp("models") / "chat")


def params(checkpoint: Path) -> ByCheckpointParams:
    return ByCheckpointParams(backend="transformers", model=f"dir:{checkpoint}", max_tokens=12, max_chars=40)


def ready(checkpoint: Path) -> Generate:
    stage = Generate(params(checkpoint), MER_CLASSES)
    stage.setup(torch.device("cpu"))
    return stage


def items(stage: Generate, words: list[str]) -> list[module.Conversation]:
    render = RenderPrompt(ByServerParams(model="m"), MER_CLASSES)
    requests = [render.prepare(clip(transcript=valid(zh=None, en=text), cue_words=None)) for text in words]
    return [stage.prepare(clip(prompts=valid(**row))) for row in render.infer(requests) if isinstance(row, dict)]


def test_a_reply_does_not_depend_on_its_companions(checkpoint: Path) -> None:
    """Alone, in a full group, at another place in it: the same tokens."""
    stage = ready(checkpoint)
    asked = items(stage, [f"I am so {word} for you!" for word in ("happy", "worried", "bus", "nine", "tell")])
    assert len({stage.bucket(item) for item in asked}) == 1
    together = stage.infer(asked)
    assert [stage.infer([item])[0] for item in asked] == together
    assert stage.infer(asked[::-1])[::-1] == together


def test_a_renamed_folder_changes_neither_key_nor_row(checkpoint: Path, tmp_path: Path) -> None:
    """A reply names its model by the content of the files."""
    renamed = shutil.copytree(checkpoint, tmp_path / "another-name")
    stages = [ready(folder) for folder in (checkpoint, renamed)]
    rows = [stage.infer(items(stage, ["Hello."])) for stage in stages]
    assert rows[0] == rows[1]
    prints = [fingerprint_of(Generate(params(folder), MER_CLASSES), "cpu").id for folder in (checkpoint, renamed)]
    assert prints[0] == prints[1]
    other = ready(make_tiny("chat", tmp_path / "other", 1))
    (row,) = other.infer(items(other, ["Hello."]))
    (before,) = rows[0]
    assert isinstance(row, dict)
    assert isinstance(before, dict)
    assert row["model"] != before["model"]


def test_what_does_not_fit_is_asked_for_once_more(checkpoint: Path) -> None:
    """Random weights write no JSON: two answers are kept, and why the last does not fit."""
    stage = ready(checkpoint)
    (row,) = stage.infer(items(stage, ["Hello."]))
    assert isinstance(row, dict)
    assert (row["status"], row["reply"], row["requests"], len(row["raw"])) == ("fallback", None, 2, 2)
    assert "no complete JSON object" in row["why"]
    assert row["tokens_out"] <= 2 * 12


def test_what_fits_is_a_reply(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokeniser stands in for a model that can write: what it decodes is what is judged."""
    stage = ready(checkpoint)
    reply = json.dumps({
        "meaning": "m", "cues": [], "context": "c", "intensity": 1, "scores": dict.fromkeys(MER_CLASSES, 1),
        "enriched_text": "warm",
    })  # fmt: skip
    asked = items(stage, ["Hello."])
    monkeypatch.setattr(stage._tokenizer, "decode", lambda *args, **kwargs: reply)
    (row,) = stage.infer(asked)
    assert isinstance(row, dict)
    assert (row["status"], row["reply"], row["requests"]) == ("ok", reply, 1)


def test_a_prompt_that_is_too_long_is_skipped_with_its_length(checkpoint: Path) -> None:
    """Cutting it would cut the data that the instructions speak of."""
    stage = Generate(params(checkpoint).model_copy(update={"max_tokens": 4000}), MER_CLASSES)
    stage.setup(torch.device("cpu"))
    with pytest.raises(Skip, match="4000 tokens are longer than the model's 4096"):
        items(stage, ["Hello."])


def test_a_checkpoint_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    """It was not made to answer."""
    stage = Generate(params(make_tiny("llama", tmp_path / "llama")), MER_CLASSES)
    with pytest.raises(CheckpointError, match="has no chat template"):
        stage.setup(torch.device("cpu"))


def test_the_key_is_the_weights_and_not_the_code(checkpoint: Path, tmp_path: Path) -> None:
    """The folder's name does not matter, its content does."""
    one = fingerprint_of(Generate(params(checkpoint), MER_CLASSES), "cpu")
    copy = Path(shutil.copytree(checkpoint, tmp_path / "elsewhere"))
    assert fingerprint_of(Generate(params(copy), MER_CLASSES), "cpu").id == one.id
    other = make_tiny("chat", tmp_path / "other", seed=1)
    assert fingerprint_of(Generate(params(other), MER_CLASSES), "cpu").id != one.id
    assert not [part for part in one.parts if part.startswith("code.")]


def test_sampling_is_refused() -> None:
    """A batch shares one generator, so a sampled reply would depend on its companions."""
    raw = {
        "dataset": {"root": "d", "csv": "d"},
        "encoders": {"words": {"family": "char-ngram", "input": "transcript"}},
        "enrich": {"backend": "transformers", "model": "dir:m", "temperature": 0.5},
    }
    with pytest.raises(ParamsError, match=r"unknown key 'enrich\.temperature' of backend 'transformers'"):
        parse_params(raw)


@pytest.mark.slow
def test_the_stage_with_a_checkpoint(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked as encoders are. Run twice: generated once, with the same bytes."""
    words = {f"clip{at}": f"{at} is what I said." for at in range(5)}
    enrich = params(checkpoint).model_dump(exclude_defaults=True)
    project = make_project(tmp_path / "p", words, **enrich)
    refused = run_stage(project)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "run `mer models lock`" in refused.stderr
    monkeypatch.chdir(project)
    lock_models(checkpoints_of(enrich=params(checkpoint)))
    first = run_stage(project)
    assert first.returncode == 0, first.stderr
    before = (project / "data/replies/part-00000.parquet").read_bytes()
    again = run_stage(project)
    assert "replies: 5 of 5 clips" in again.stdout
    assert "5 re-used" in again.stdout.splitlines()[2]
    assert (project / "data/replies/part-00000.parquet").read_bytes() == before
    assert {row["status"] for row in table(project, "enriched").values()} == {"fallback"}
