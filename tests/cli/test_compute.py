"""Facts about `mer compute`: parts on several machines, one store, and then a stage that computes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.runs import read_run
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.cli.compute import compute_part, shards_of
from mer_pipeline.config.params import Params, load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import embed
from mer_pipeline.stage.rows import run_step
from tests.enrich.project import make_project

TEXTS = {f"clip{i:02}": f"word{i} and so on" for i in range(40)}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of forty clips that have words, and its params."""
    make_project(tmp_path, TEXTS, backend="template")
    monkeypatch.chdir(tmp_path)
    return load_params()


def shards_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_parts_put_all_rows_into_the_store_and_the_stage_takes_them(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is computed by one part, and the table is, byte for byte, the one that a single machine makes."""
    step = embed(params, "words")
    lines = [compute_part("words", f"{k}/3", params, Runtime(), Project()) for k in (2, 1, 3)]
    counts = [int(line.split(", ")[1].split()[0]) for line in lines]
    assert sum(counts) == len(TEXTS)
    assert all(counts)
    assert lines[0].endswith("when all parts are done, run `dvc repro embed@words`")
    assert "0 computed" in compute_part("words", "1/3", params, Runtime(), Project())
    run_step(step, Project(), params.shards, params.quality)
    run = read_run("embed-words")
    assert run is not None
    assert (run.computed, run.reused) == (0, len(TEXTS))
    by_parts = shards_in(Project().table(step.table))
    monkeypatch.setenv("MER_STORE", "none")
    run_step(step, Project(), params.shards, params.quality)
    assert shards_in(Project().table(step.table)) == by_parts


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("0/3", "write K/N, such as 3/16"),
        ("4/3", "write K/N, such as 3/16"),
        ("third", "write K/N, such as 3/16"),
        ("3/5", "there are only 4 shards to share out"),
    ],
)
def test_a_part_that_cannot_be_is_one_sentence(part: str, told: str) -> None:
    """It names what to write."""
    with pytest.raises(UsageError, match=told):
        shards_of(part, 4)


def test_parts_need_a_store(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, everything that a part computes would be lost."""
    monkeypatch.setenv("MER_STORE", "none")
    with pytest.raises(UsageError, match="there is no store to put rows into"):
        compute_part("words", "1/2", params, Runtime(), Project())
