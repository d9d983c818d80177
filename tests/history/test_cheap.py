"""Whatever happened before, the shards are those of one clean run: random histories of a cheap transform."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.history.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A process to fork runs from."""
    process = Zygote("tests.history.cheap:run_once")
    yield process
    process.close()


def contents(out: Path) -> dict[str, str]:
    """Hash of every file of a run's outputs."""
    files = [*sorted(out.glob("*")), out.with_name(f"{out.name}.quarantine.parquet")]
    return {path.name.replace(out.name, "out"): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


NUMBERS = st.integers(1, 120)
STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(NUMBERS, min_size=1, max_size=12)),
    st.tuples(st.just("remove"), st.integers(0, 1000)),
    st.tuples(st.just("rename"), st.integers(0, 1000)),
    st.tuples(st.just("alter"), st.integers(0, 1000), NUMBERS),
    st.tuples(st.just("factor"), st.integers(1, 3)),
    st.tuples(st.just("reorder"), st.integers(0, 1000)),
    st.tuples(st.just("kill"), st.floats(0.0, 0.08)),
    st.tuples(st.just("delete"), st.integers(0, 1000)),
    st.tuples(st.just("corrupt"), st.integers(0, 1000), st.sampled_from(["tear", "flip", "foreign"])),
    st.tuples(st.just("workers"), st.sampled_from([1, 2, 4])),
    st.tuples(st.just("batch"), st.sampled_from([1, 3, 16])),
    st.tuples(st.just("shards"), st.sampled_from([1, 3, 5])),
)


def damage(folder: Path, step: tuple[Any, ...]) -> None:
    """Delete, tear, alter or replace a file of the store, whichever the number picks."""
    files = sorted(path for path in (folder / "store").rglob("*") if path.is_file() and "packs" in path.parts)
    if not files:
        return
    path = files[step[1] % len(files)]
    how = step[2] if step[0] == "corrupt" else "delete"
    data = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "tear":
        path.write_bytes(data[: len(data) // 2])
    elif how == "foreign":
        path.write_bytes(random.Random(step[1]).choice(files).read_bytes())
    elif data:
        at = step[1] * 7919 % len(data)
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


def change(state: dict[str, Any], step: tuple[Any, ...]) -> None:
    """Apply a step to the clips or the settings."""
    clips: dict[str, int] = state["clips"]
    names = sorted(clips)
    match step:
        case ("add", numbers):
            for number in numbers:
                state["made"] += 1
                clips[f"c{state['made']:03d}"] = number
        case ("remove", at) if names:
            del clips[names[at % len(names)]]
        case ("rename", at) if names:
            state["made"] += 1
            clips[f"r{state['made']:03d}"] = clips.pop(names[at % len(names)])
        case ("alter", at, number) if names:
            clips[names[at % len(names)]] = number
        case ("reorder", seed):
            state["order"] = seed
        case ("factor" | "workers" | "batch" | "shards" as name, value):
            state[name] = value


def play(zygote: Zygote, folder: Path, steps: list[tuple[Any, ...]]) -> None:
    """A run after every step, then a last one; and a clean run of the same, somewhere else, with nothing known."""
    state: dict[str, Any] = {"clips": {f"c{n:03d}": n for n in range(1, 16)}, "made": 100, "order": 0}
    runtime = {"workers", "batch"}
    for step in [*steps, ("end",)]:
        change(state, step)
        if step[0] in {"delete", "corrupt"}:
            damage(folder, step)
        settings_ = {key: value for key, value in state.items() if key != "made"}
        killed = step[1] if step[0] == "kill" else None
        zygote.run(folder, kill_after_s=killed, out="out", pause_s=0.002 if killed is not None else 0.0, **settings_)
    clean = {key: value for key, value in state.items() if key not in {"made", *runtime}}
    zygote.run(folder, out="clean", store="none", **clean)
    assert contents(folder / "out") == contents(folder / "clean")
    leftovers = [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]
    assert not leftovers


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_shards_do_not_depend_on_history(zygote: Zygote, tmp_path: Path, steps: list[tuple[Any, ...]]) -> None:
    """Add, remove, rename, alter, reorder, other params, killed runs, lost and damaged packs, other workers: the final
    shards and quarantine are, byte for byte, those of one clean run without a store."""
    folder = tmp_path / "history"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    play(zygote, folder, steps)
