"""Files are predicted as clips of the dataset are, and nothing of a run is touched: a small project with real films."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mer_pipeline
from mer_pipeline.base.errors import CheckpointError, UsageError
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.inference.predict import predict
from mer_pipeline.models.lock import lock_models
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.store.store import Store
from tests.conftest import film
from tests.forks import python

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = """
dataset: {adapter: folder, root: clips, csv: clips.csv, classes: [calm, cross, glad]}
folds: {n: 2}
frames: {n: 2}
encoders:
  scene: {family: appearance, input: frames}
  voice: {family: logmel, input: audio}
  words: {family: char-ngram, input: transcript, language: en, dim: 32}
  context: {family: char-ngram, input: enriched, dim: 32}
train: {heads: [logreg], seeds: [0], single_modality: false}
shards: {count: 2}
"""
RUNS = (
    *("ingest", "frames", "audio", "transcribe", "faces", "enrich", "embed:scene", "embed:voice", "embed:words"),
    *("embed:context", "labels", "pseudo", "train", "predict"),
)
SAID = {"calm": "well well", "cross": "no, no!", "glad": "oh yes"}
TONES = {"calm": 110.0, "cross": 220.0, "glad": 440.0}
CLIPS = {f"c{at:02d}": list(SAID)[at % 3] for at in range(15)}
ASKED = sorted(CLIPS)[12:]  # clips of the pool


def own_command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`mer predict WORDS` in the project."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MER_STORE": str(project / "store")}
    line = [python(), "-m", "mer_pipeline.cli.main", "predict", *words]
    return subprocess.run(line, cwd=project, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after a run. Every clip is a speaker of its own, as a file is."""
    root = tmp_path_factory.mktemp("trained")
    for at, (name, label) in enumerate(CLIPS.items()):
        tone = TONES[label] * (1 + at / 40)
        film(root / f"clips/{name}.mp4", frames=6, tone=tone, loudness=0.02 * (at + 1), silent_until=0.02 * at)
    rows = [[name, "" if name in ASKED else label, f"{SAID[label]} {name}"] for name, label in CLIPS.items()]
    with (root / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "label", "transcript"], *rows])
    (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MER_STORE": str(root / "store")}
    done = subprocess.run([python(), "-m", "tests.recorded", *RUNS], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def project(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project is the current folder, with its store."""
    monkeypatch.chdir(trained)
    monkeypatch.setenv("MER_STORE", str(trained / "store"))
    return trained


@pytest.fixture
def copies(project: Path, tmp_path: Path) -> dict[str, Path]:
    """The clips of the pool under another name in folders of their own, by the clips' names."""
    found = {name: tmp_path / name / "mine.mp4" for name in ASKED}
    for name, path in found.items():
        path.parent.mkdir()
        shutil.copy(project / f"clips/{name}.mp4", path)
    return found


def sound(path: Path, loudness: float) -> Path:
    """Half a second of a tone as 16-bit WAV."""
    samples = loudness * np.sin(2 * np.pi * 200 * np.arange(8000) / 16_000)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def said_in(name: str) -> str:
    """The words of a clip."""
    return f"{SAID[CLIPS[name]]} {name}"


def files_below(*folders: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def shares(frame: pl.DataFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The probabilities, (files, classes)."""
    return frame["probabilities"].struct.unnest().to_numpy()


def test_a_clip_that_is_given_again_is_predicted_as_in_the_dataset(project: Path, copies: dict[str, Path]) -> None:
    """Under another name, with equal words, and among files of equal names: label, probabilities and importance."""
    stage = pl.read_parquet(Project().predictions).sort("clip_id")
    assert stage["clip_id"].to_list() == ASKED
    found = mer_pipeline.predict(copies.values(), text={path: said_in(name) for name, path in copies.items()})
    assert found["file"].to_list() == [str(path) for path in copies.values()]
    assert found["label"].to_list() == stage["label"].to_list()
    assert found["transcript"].to_list() == [said_in(name) for name in copies]
    np.testing.assert_allclose(shares(found), stage["probabilities"].to_numpy(), atol=1e-6)
    importance = [list(row.values()) for row in found["importance"]]
    np.testing.assert_allclose(importance, stage["importance"].to_list(), atol=1e-5)
    most = [list(row)[int(np.argmax(list(row.values())))] for row in found["importance"]]
    assert found["rests_on"].to_list() == most
    enriched = pl.read_parquet("data/enriched/*.parquet").filter(pl.col("clip_id").is_in(ASKED))
    assert any("compared with all clips" in cues for cues in enriched["cues"].to_list())


def test_a_file_is_predicted_alone_as_among_others(copies: dict[str, Path]) -> None:
    """Other files are not a part of the habit that it is compared with."""
    first, *_ = copies.values()
    alone, together = predict(first), predict([*copies.values()])
    assert alone.row(0) == together.row(0)
    assert alone["transcript"].to_list() == [None]


def test_nothing_of_the_run_is_touched_and_the_same_file_costs_nothing_twice(
    project: Path, copies: dict[str, Path], tmp_path: Path
) -> None:
    """No table, record or other file of the project changes; a new file's rows go to the store, once."""
    new = film(tmp_path / "new.mp4", frames=5, tone=300.0)
    run, store = (project / "data", project / "metrics", project / ".mer/runs"), project / "store"
    before, kept = files_below(*run), files_below(store)
    once = predict(new)
    assert files_below(*run) == before
    after = files_below(store)
    assert after.keys() > kept.keys()
    again = predict(shutil.copy(new, tmp_path / "other.mp4"))
    assert files_below(store) == after
    assert again.drop("file").equals(once.drop("file"))


@pytest.mark.parametrize("store", ["none", "/sys/mer-store"])
def test_a_store_that_keeps_nothing_is_no_hindrance(
    store: str, copies: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store, and with one that may not be written."""
    first, *_ = copies.values()
    with_store = predict(first)
    monkeypatch.setenv("MER_STORE", store)
    assert predict(first).equals(with_store)


def test_a_bad_file_has_a_line_with_its_reason(copies: dict[str, Path], tmp_path: Path) -> None:
    """The others are predicted as without it, and a file whose picture alone is broken is predicted by the rest."""
    good, *_ = copies.values()
    (tmp_path / "noise.mp4").write_bytes(b"no film")
    (tmp_path / "list.txt").touch()
    (tmp_path / "old.wmv").touch()
    silent = sound(tmp_path / "silence.wav", 0.0)
    bad = [tmp_path / name for name in ("noise.mp4", "list.txt", "old.wmv", "gone.mp4")]
    found = predict([*bad, tmp_path, silent, good])
    assert found["label"].is_null().to_list() == [True] * 6 + [False]
    assert found.row(6) == predict(good).row(0)
    for problem, part in zip(
        found["problem"].to_list(),
        (
            "not a known media container",
            "does not end like",
            "ffmpeg -i",
            "no such file",
            "is a folder",
            "silent",
            None,
        ),
        strict=True,
    ):
        assert (problem is None) == (part is None)
        assert part is None or part in problem


def test_the_command_prints_a_line_per_file(project: Path, copies: dict[str, Path]) -> None:
    """As a table, as JSON and as CSV; it exits with 1 where a file has a problem, and 2 where it is used wrongly."""
    name, path = next(iter(copies.items()))
    expected = predict(path, text={path: said_in(name)})
    label = expected["label"][0]
    told = own_command(project, str(path), "--text", said_in(name), "--json")
    assert told.returncode == 0, told.stderr
    (row,) = json.loads(told.stdout)
    assert (row["file"], row["label"], row["transcript"], row["problem"]) == (str(path), label, said_in(name), None)
    np.testing.assert_allclose(list(row["probabilities"].values()), shares(expected)[0], atol=1e-6)
    told = own_command(project, str(path), "gone.mp4", "--csv")
    assert told.returncode == 1
    first, second = csv.DictReader(io.StringIO(told.stdout))
    assert float(first[f"probability_{first['label']}"]) == max(float(first[f"probability_{one}"]) for one in SAID)
    assert (second["label"], second["problem"]) == ("", "there is no such file")
    told = own_command(project, "gone.mp4", str(path), "--text", "which?")
    assert (told.returncode, told.stdout) == (2, "")
    told = own_command(project, f"clips/{name}.mp4", "gone.mp4")
    head, line, none, problem = told.stdout.splitlines()
    assert head.split() == ["file", "class", "second", "rests", "on", "words"]
    assert line.split()[:2] == [f"clips/{name}.mp4", predict(path)["label"][0]]
    assert none.split() == ["gone.mp4", "-", "-", "-", "-"]
    assert problem == "gone.mp4: there is no such file"


def test_the_commands_of_the_docs_run(project: Path, copies: dict[str, Path], tmp_path: Path) -> None:
    """Those of docs/predict.md, with a film and a sound of these names."""
    page = (ROOT / "docs/predict.md").read_text(encoding="utf-8")
    shutil.copy(next(iter(copies.values())), tmp_path / "holiday.mp4")
    sound(tmp_path / "interview.wav", 0.3)
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.S)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert len(commands) == 3
    for _, name, *words in commands:
        assert name == "predict"
        files = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in words]
        done = own_command(project, *files)
        assert (done.returncode, "holiday.mp4" in done.stdout) == (0, True), done.stdout + done.stderr


def test_dvc_is_not_loaded(project: Path) -> None:
    """It would take half a second of the first answer."""
    code = f"import sys, mer_pipeline; mer_pipeline.predict('clips/{ASKED[0]}.mp4'); print('dvc' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Not `python()`, which has loaded DVC before.
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


@pytest.fixture
def params(project: Path) -> Iterator[Path]:
    """The project's params.yaml, which is put back afterwards."""
    path = project / "params.yaml"
    yield path
    path.write_text(PARAMS, encoding="utf-8")


def test_it_is_said_where_params_are_not_those_of_the_trained_run(
    params: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence names the param and the step, and nothing is said where they are the same."""
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    predict(f"clips/{ASKED[0]}.mp4")
    assert caplog.messages == []
    params.write_text(PARAMS.replace("frames: {n: 2}", "frames: {n: 3}"), encoding="utf-8")
    predict(f"clips/{ASKED[0]}.mp4")
    (message,) = caplog.messages
    assert "(params.n of frames)" in message


def test_words_are_heard_and_a_language_model_is_asked_where_params_say_so(params: Path, tmp_path: Path) -> None:
    """By the recogniser and the backend of params.yaml, both from checkpoints here."""
    folders = {name: make_tiny(kind, tmp_path / kind) for name, kind in (("heard", "whisper-words"), ("asked", "chat"))}
    shutil.copytree(ROOT / "prompts", params.parent / "prompts", dirs_exist_ok=True)
    more = f"""
transcript: {{backend: whisper, checkpoint: "dir:{folders["heard"]}", logprob_threshold: -1000.0,
  no_speech_threshold: 1.0, compression_ratio_threshold: 1000.0, language: en}}
enrich: {{backend: transformers, model: "dir:{folders["asked"]}", max_tokens: 8}}
"""
    params.write_text(PARAMS + more, encoding="utf-8")
    new = film(tmp_path / "new.mp4", frames=5, tone=250.0)
    with pytest.raises(CheckpointError, match="mer models lock"):
        predict(new)
    lock_models(checkpoints(load_params()))
    (row,) = predict(new).to_dicts()
    assert row["transcript"]
    assert row["problem"] is None
    assert row["importance"]["words"] is not None
    assert set(Store("store").transforms()) >= {"heard", "prompts", "replies"}
    assert predict(new, text={new: "Well."})["transcript"].to_list() == ["Well."]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  voice: {", "  vocals: {", "the encoder 'voice', which params.yaml does not have"),
        ("voice: {family: logmel, input: audio}", "voice: {family: file, input: mine.csv}", "external features"),
        ("frames: {n: 2}", "faces: {detector: openface}", "was made elsewhere"),
    ],
)
def test_a_run_that_cannot_predict_files_is_one_sentence(params: Path, old: str, new: str, said: str) -> None:
    """It needs an encoder that is gone, external features, or faces that the dataset brings."""
    assert old in PARAMS
    params.write_text(PARAMS.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        predict(f"clips/{ASKED[0]}.mp4")


def test_text_must_be_of_a_file_that_is_given(project: Path) -> None:
    """A misspelt path is noticed."""
    with pytest.raises(UsageError, match="none of the files"):
        predict("clips/c00.mp4", text={"c00.mp4": "hello"})
