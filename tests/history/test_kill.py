"""kill -9, again and again, in the middle of an embed stage."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.history.embed import DONE, write_sounds
from tests.history.test_cheap import contents
from tests.history.zygote import Zygote

KILLS = 30
FLUSH_S = 0.4
CLIPS = 1500  # more than are embedded before the last kill
# A machine that does other things may wake the process late; the work of that time is not more than without a kill.
LATE_S = 0.3


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    """A process to fork runs from."""
    process = Zygote("tests.history.embed:run_once")
    yield process
    process.close()


def kept(folder: Path) -> int:
    """How many rows the store has."""
    packs = (path for path in (folder / "store/packs").rglob("*.parquet") if "problems" not in path.name)
    return len({key for path in packs for key in pq.read_table(path)["input_digest"].to_pylist()})


@pytest.mark.outcome("`kill -9`", "at most `flush_s` seconds of work are lost")
@pytest.mark.slow
def test_thirty_kills(zygote: Zygote, tmp_path: Path) -> None:
    """Every run goes on where the last was killed, none loses more than flush_s of work, and the end is that of a run
    that was never killed."""
    write_sounds(tmp_path, CLIPS)
    zygote.run(tmp_path, out="clean", store="none", workers=8)
    (tmp_path / DONE).write_text("")
    rng = random.Random(0)
    before = 0
    for _ in range(KILLS):
        start = len((tmp_path / DONE).read_text().split())
        status = zygote.run(tmp_path, kill_after_s=rng.uniform(0.1, 0.7), out="out", store="store", flush_s=FLUSH_S)
        killed = time.time()
        finished = [float(line) for line in (tmp_path / DONE).read_text().split()[start:]]
        now = kept(tmp_path)
        lost = finished[now - before :]
        assert now >= before, "what was kept stays"
        assert not lost or killed - lost[0] <= FLUSH_S + LATE_S
        assert status == -signal.SIGKILL
        before = now
    zygote.run(tmp_path, out="out", store="store", workers=8)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")
    assert kept(tmp_path) == CLIPS
