"""Histories of the real pipeline, six clips, no training: the shards are those of one clean run."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.history.test_cheap import damage
from tests.history.zygote import Zygote

DEMO = Path(__file__).resolve().parent.parent.parent / "data/demo/video"
CLIPS = [path.name for path in sorted(DEMO.glob("s01_*.mp4"))[:9]]
ENCODERS = ["scene", "face", "voice", "words", "context"]
PARAMS = """
dataset: {{adapter: folder, root: clips, csv: clips.csv}}
folds: {{n: 2}}
frames: {{n: {n}, max_side: 160}}
faces: {{detect_side: 160}}
encoders:
  scene: {{family: appearance, input: frames}}
  face: {{family: face-geometry, input: faces}}
  voice: {{family: logmel, input: audio}}
  words: {{family: char-ngram, input: transcript, language: zh, dim: {dim}}}
  context: {{family: char-ngram, input: enriched, dim: 32}}
shards: {{count: 2}}
quality: {{max_failed: 1.0}}
"""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A process to fork runs from."""
    process = Zygote("tests.history.real:run_once")
    yield process
    process.close()


def write(folder: Path, state: dict[str, Any]) -> None:
    """The dataset and the settings as the state says."""
    clips = folder / "clips"
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir(parents=True)
    for name, source in state["clips"].items():
        shutil.copy(DEMO / source, clips / f"{name}.mp4")
        if name in state["cut"]:
            with (clips / f"{name}.mp4").open("r+b") as file:
                file.truncate(3000)
    names = sorted(state["clips"], reverse=bool(state["order"]))
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "label", "group", "transcript"])
        rows.writerows([name, ["happy", "sad"][len(name) % 2], "s", f"hello {state['clips'][name]}"] for name in names)
    (folder / "params.yaml").write_text(PARAMS.format(n=state["n"], dim=state["dim"]))
    (folder / ".mer.toml").write_text(
        f"workers = {state['workers']}\nbatch = {state['batch']}\ndevice = 'cpu'\n[store]\nflush_s = 0.2\n"
    )


def contents(folder: Path) -> dict[str, str]:
    """Hash of every table."""
    files = sorted((folder / "data").rglob("*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


AT = st.integers(0, 1000)
STEPS = st.one_of(
    st.tuples(st.just("add"), AT),
    st.tuples(st.just("remove"), AT),
    st.tuples(st.just("rename"), AT),
    st.tuples(st.just("alter"), AT, AT),
    st.tuples(st.just("cut"), AT),
    st.tuples(st.just("n"), st.integers(2, 3)),
    st.tuples(st.just("dim"), st.sampled_from([16, 64])),
    st.tuples(st.just("order"), AT),
    st.tuples(st.just("kill"), st.floats(0.1, 3.0)),
    st.tuples(st.just("delete"), AT),
    st.tuples(st.just("corrupt"), AT, st.sampled_from(["tear", "flip", "foreign"])),
    st.tuples(st.just("workers"), st.sampled_from([1, 2, 4])),
    st.tuples(st.just("batch"), st.sampled_from([1, 3, 16])),
)


def change(state: dict[str, Any], step: tuple[Any, ...]) -> None:
    """Apply a step to the dataset or the settings."""
    clips: dict[str, str] = state["clips"]
    names = sorted(clips)
    match step:
        case ("add", at):
            state["made"] += 1
            clips[f"n{state['made']}"] = CLIPS[at % len(CLIPS)]
        case ("remove", at) if len(names) > 3:
            del clips[names[at % len(names)]]
        case ("rename", at):
            state["made"] += 1
            clips[f"r{state['made']}"] = clips.pop(names[at % len(names)])
        case ("alter", at, other):
            clips[names[at % len(names)]] = CLIPS[other % len(CLIPS)]
        case ("cut", at):
            state["cut"] = {names[at % len(names)]}
        case ("order" | "n" | "dim" | "workers" | "batch" as name, value):
            state[name] = value % 2 if name == "order" else value


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=2, max_size=4))
def test_tables_do_not_depend_on_history(zygote: Zygote, tmp_path: Path, steps: list[tuple[Any, ...]]) -> None:
    """Every table of every stage, quarantine included, is byte for byte that of one clean run without a store."""
    folder, clean = tmp_path / "history", tmp_path / "clean"
    for path in (folder, clean):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    state: dict[str, Any] = {"clips": {name[:-4]: name for name in CLIPS[:6]}, "cut": set(), "made": 0, "order": 0}
    state |= {"n": 2, "dim": 16, "workers": 2, "batch": 8}
    for step in [*steps, ("end",)]:
        change(state, step)
        if step[0] in {"delete", "corrupt"}:
            damage(folder / ".mer", step)
        write(folder, state)
        zygote.run(folder, kill_after_s=step[1] if step[0] == "kill" else None, encoders=ENCODERS)
    write(clean, {**state, "workers": 1, "batch": 2})
    zygote.run(clean, encoders=ENCODERS, store="none")
    assert contents(folder) == contents(clean)
    assert len(contents(folder)) > 20
