"""Facts about the runner and its engines, on transforms that cost nothing. Every engine has to keep them."""

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import (
    BadInput,
    Bug,
    CheckpointError,
    ParamsError,
    Skip,
    StageError,
    StoreError,
    TooManyFailed,
    Transient,
)
from mer_pipeline.base.run import run
from mer_pipeline.base.runs import Progress, Summary, read_run
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.engines import base
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.store.row_cache import RowCache
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, write_table
from tests import processes
from tests.conftest import rows_of

TRIES = Path("tries")
STOP = Path("stop")  # where it lies, Double is interrupted at its fifth batch


class Double(Transform[int]):
    """Twice a number; some numbers misbehave as their name says."""

    name = "double"
    sources = (Source("manifest", ("x",), locators=("place",)),)
    schema = pa.schema([pa.field("y", pa.int64())])
    params = Section()
    broken: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, clip: Clip) -> int:
        x = int(str(clip.need("manifest")["x"]))
        if x == -1:
            raise Skip("negative")
        if x == -2:
            raise BadInput("bad number")
        if x == -3:
            with TRIES.open("a") as file:  # which outlives a process
                file.write("x")
            if TRIES.stat().st_size < 3:
                raise Transient("try again")
        if x == -4:
            raise ZeroDivisionError("a bug")
        time.sleep((x % 3) / 1000)
        return x

    def bucket(self, item: int) -> int:
        return item % 2

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        self.batches.append(len(items))
        if STOP.exists() and len(self.batches) == 5:
            raise KeyboardInterrupt
        assert len({item % 2 for item in items}) == 1, "buckets never mix"
        if any(item in self.broken for item in items):
            raise ValueError(f"{sorted(set(items) & self.broken)} spoils the batch")
        return [Skip("thirteen") if item == 13 else {"y": 2 * item} for item in items]


def manifest(folder: Path, numbers: Sequence[int], place: str = "here") -> dict[str, Path]:
    path = folder / "manifest.parquet"
    rows = {"clip_id": [f"clip{at:03d}" for at in range(len(numbers))], "x": numbers, "place": [place] * len(numbers)}
    write_table(path, pa.table(rows))
    return {"manifest": path}


engine_name = "local"


@pytest.fixture(autouse=True, params=["local", "tests.processes:Processes"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that `go` takes."""
    global engine_name
    engine_name = request.param
    return engine_name


# For facts about what happens within this process.
local_only = pytest.mark.parametrize("engine", ["local"], indirect=True)


def go(
    transform: Transform[int],
    places: dict[str, Path],
    out: Path,
    max_failed: float = 0.5,
    store: str = "none",
    flush_s: float = 30.0,
    progress: Progress = lambda done, total: None,
    **runtime: int,
) -> Summary:
    return run(
        transform,
        places,
        out / "rows",
        out / "quarantine.parquet",
        shards=ShardParams(count=3),
        quality=QualityParams(max_failed=max_failed),
        progress=progress,
        runtime=Runtime(
            device="cpu",
            engine=engine_name,
            store=StoreSettings(url=store, flush_s=flush_s),
            **{"workers": 2, **runtime},
        ),
    )


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.parquet")
    }


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_clip_has_one_row_and_every_failure_its_reason(tmp_path: Path) -> None:
    """Done, skipped and failed clips add up; a skip is a row, a failure is in the quarantine."""
    summary = go(Double(), manifest(tmp_path, [1, 2, -1, -2, 13, -4]), tmp_path)
    rows = rows_of(tmp_path / "rows")
    assert [(row["y"], row["valid"], row["reason"]) for row in rows] == [
        (2, True, None), (4, True, None), (None, False, "negative"), (None, False, "thirteen"),
    ]  # fmt: skip
    problems = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert [(p["clip_id"], p["error"], p["message"]) for p in problems] == [
        ("clip003", "BadInput", "bad number"),
        ("clip005", "ZeroDivisionError", "a bug"),
    ]
    assert (summary.clips, summary.done, summary.skipped.total(), summary.failed.total()) == (6, 2, 2, 2)


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (1, 7), (2, 3), (4, 64)])
def test_bytes_do_not_depend_on_workers_or_batch(tmp_path: Path, workers: int, batch: int) -> None:
    """Shards are the same, byte for byte, whatever the machine is told to do."""
    places = manifest(tmp_path, list(range(40)))
    go(Double(), places, tmp_path / "a", workers=2, batch=8)
    go(Double(), places, tmp_path / "b", workers=workers, batch=batch)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert len(fingerprint(tmp_path / "a")) == 4


def test_order_of_the_manifest_does_not_matter(tmp_path: Path) -> None:
    """Reordering a CSV changes no shard."""
    places = manifest(tmp_path, list(range(20)))
    go(Double(), places, tmp_path / "a")
    table = pq.read_table(places["manifest"])
    write_table(places["manifest"], table.take(np.random.default_rng(0).permutation(20)))
    go(Double(), places, tmp_path / "b")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


def test_input_digest_covers_what_is_declared(tmp_path: Path) -> None:
    """Another place of the same content is the same input; another number is another."""
    digests = []
    for name, numbers, place in (("a", [1], "here"), ("b", [1], "there"), ("c", [2], "here")):
        go(Double(), manifest(tmp_path, numbers, place), tmp_path / name)
        digests.append(rows_of(tmp_path / name / "rows")[0]["input_digest"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.outcome("in a batch", "a clip has no row only where it fails by itself")
def test_one_bad_item_does_not_take_its_batch_along(tmp_path: Path) -> None:
    """The item that spoils a batch is found and quarantined; its companions have their rows."""
    transform = Double()
    transform.broken = frozenset({4})
    summary = go(transform, manifest(tmp_path, [0, 2, 4, 6, 8]), tmp_path, workers=1, batch=5)
    assert summary.done == 4
    assert pq.read_table(tmp_path / "quarantine.parquet")["clip_id"].to_pylist() == ["clip002"]


def test_transient_failures_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes well at the third try is done."""
    monkeypatch.setattr(base, "TRANSIENT_PAUSE_S", 0.0)
    assert go(Double(), manifest(tmp_path, [-3]), tmp_path).done == 1
    assert TRIES.stat().st_size == 3


@pytest.mark.outcome(
    "more than `quality.max_failed` of a stage's clips are quarantined",
    "the stage fails with exit code 1, and says how many, the first one and where the list is",
)
def test_too_many_failures_stop_the_stage_and_leave_the_list(tmp_path: Path) -> None:
    """The error counts, names one and the file with all; what was there before stays."""
    places = manifest(tmp_path, [1, 2, 3])
    go(Double(), places, tmp_path)
    before = fingerprint(tmp_path / "rows")
    with pytest.raises(
        TooManyFailed, match=r"double: 2 of 4 clips failed.*'clip000': bad number.*quarantine"
    ) as caught:
        go(Double(), manifest(tmp_path, [-2, -2, 1, 2]), tmp_path, max_failed=0.3)
    assert caught.value.exit_code == 1
    assert fingerprint(tmp_path / "rows") == before
    assert pq.read_table(tmp_path / "quarantine.parquet").num_rows == 2


class NoModel(Double):
    uses_torch = True

    def setup(self, device: object) -> None:
        raise CheckpointError("no model")

    def prepare(self, clip: Clip) -> int:
        raise AssertionError("reached a clip")


def test_an_unfit_model_stops_before_any_clip(tmp_path: Path) -> None:
    """Errors of set-up are a person's to mend and exit with 2."""
    with pytest.raises(CheckpointError):
        go(NoModel(), manifest(tmp_path, [1]), tmp_path)
    assert not (tmp_path / "rows").exists()


class Interrupted(Double):
    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        raise KeyboardInterrupt


def test_interruption_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Ctrl-C in the middle: the old folder stays, no temporary one is left."""
    with pytest.raises(KeyboardInterrupt):
        go(Interrupted(), manifest(tmp_path, [1, 2, 3]), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".mer") == ["manifest.parquet"]


def test_memory_is_bounded_by_the_window(tmp_path: Path) -> None:
    """Clips are pulled from the source as they are needed, not all at once.

    At most the window is in the pools, and in each of the two buckets one clip fewer than a batch waits.
    """
    pulled, done = 0, 0

    def source() -> object:
        nonlocal pulled
        for at in range(500):
            pulled += 1
            yield Clip(str(at), "", {"manifest": {"x": at}})

    local = LocalEngine(Double(), Runtime(workers=2, batch=4, device="cpu"))
    for outcomes in local.outcomes(source()):  # type: ignore[arg-type]
        done += len(outcomes)
        assert pulled - done <= 4 * (2 + 2 + 1) + 2 * 3
    assert done == 500
    assert local.stop() == []


def test_a_missing_table_names_the_command(tmp_path: Path) -> None:
    """A stage that is run before the one that it reads says what to do."""
    with pytest.raises(StageError, match="dvc repro"):
        go(Double(), {"manifest": tmp_path / "none.parquet"}, tmp_path)


def test_no_clips_still_make_all_shards(tmp_path: Path) -> None:
    """An empty dataset is a dataset: readers find the schema."""
    go(Double(), manifest(tmp_path, []), tmp_path)
    assert len(list((tmp_path / "rows").iterdir())) == 3


def packs(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "store/packs").rglob("*.parquet") if "problems" not in path.name)


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    """Rows, skips and broken clips are known; what failed for an unknown reason is tried again."""
    places = manifest(tmp_path, [1, 2, -1, -2, 13, -4])
    first = go(Double(), places, tmp_path / "a", store="store")
    again = Double()
    second = go(again, places, tmp_path / "b", store="store")
    assert (first.computed, first.reused, second.computed, second.reused) == (6, 0, 1, 5)
    assert again.batches == []
    assert second.failed == {"BadInput": 1, "ZeroDivisionError": 1}
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


@pytest.mark.outcome(
    "the same broken clip in the next run", "it is remembered as broken and not tried again until its bytes change"
)
def test_a_broken_clip_is_tried_again_when_it_is_another(tmp_path: Path) -> None:
    """The same content is known to be broken, also after a rename; other content is another clip."""
    first = go(Double(), manifest(tmp_path, [1, -2]), tmp_path, max_failed=1.0, store="store")
    again = go(Double(), manifest(tmp_path, [-2, 1]), tmp_path, max_failed=1.0, store="store")
    mended = go(Double(), manifest(tmp_path, [1, 3]), tmp_path, max_failed=1.0, store="store")
    assert [(one.computed, one.failed.total()) for one in (first, again, mended)] == [(2, 1), (0, 1), (1, 0)]


def test_an_added_clip_is_computed_alone(tmp_path: Path) -> None:
    """And the shards are those of a run that knew nothing."""
    go(Double(), manifest(tmp_path, list(range(20))), tmp_path / "a", store="store")
    places = manifest(tmp_path, list(range(21)))
    assert go(Double(), places, tmp_path / "a", store="store").computed == 1
    go(Double(), places, tmp_path / "b")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


def test_renamed_and_moved_clips_are_known(tmp_path: Path) -> None:
    """A row belongs to what it was made from, not to a name."""
    go(Double(), manifest(tmp_path, [1, 2, 3]), tmp_path / "a", store="store")
    path = manifest(tmp_path, [3, 1, 2], place="there")["manifest"]
    table = pq.read_table(path)
    write_table(path, table.set_column(0, "clip_id", pa.array(["x", "y", "z"])))
    assert go(Double(), {"manifest": path}, tmp_path / "b", store="store").computed == 0
    assert [(row["clip_id"], row["y"]) for row in rows_of(tmp_path / "b/rows")] == [("x", 6), ("y", 2), ("z", 4)]


@pytest.mark.outcome(
    "a pack is torn, altered, foreign or of an older form", "said in the stage's line, its rows computed again"
)
def test_a_damaged_pack_is_said_and_its_rows_are_computed_again(tmp_path: Path) -> None:
    """The others are re-used; the shards come out as they were."""
    places = manifest(tmp_path, list(range(30)))
    go(Double(), places, tmp_path / "a", store="store")
    victim = packs(tmp_path)[0]
    lost = pq.read_metadata(victim).num_rows
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    summary = go(Double(), places, tmp_path / "b", store="store")
    assert (summary.computed, summary.reused) == (lost, 30 - lost)
    assert "1 damaged packs set aside" in str(summary)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


def test_a_pack_that_is_the_shard_is_not_kept_twice(tmp_path: Path) -> None:
    """A cold run's packs are its shards, byte for byte; later ones grow into one pack a shard again."""
    go(Double(), manifest(tmp_path, list(range(30))), tmp_path / "a", store="store")
    shards = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "a/rows").iterdir()}
    assert shards == {path.stem for path in packs(tmp_path)}
    for count in range(31, 40):
        go(Double(), manifest(tmp_path, list(range(count))), tmp_path / "a", store="store")
    shards = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "a/rows").iterdir()}
    assert shards == {path.stem for path in packs(tmp_path)}


@pytest.mark.outcome(
    "Ctrl-C; SIGTERM", "what was computed until then is in the store, and the same command goes on from there"
)
def test_what_was_done_before_an_interruption_is_kept(tmp_path: Path) -> None:
    """Ctrl-C: everything that came out of the engine until then is known to the next run."""

    places = manifest(tmp_path, list(range(40)))
    STOP.touch()
    with pytest.raises(KeyboardInterrupt):
        go(Double(), places, tmp_path / "a", store="store", workers=1, batch=2)
    STOP.unlink()
    second = go(Double(), places, tmp_path / "a", store="store")
    assert 0 < second.reused < 40
    assert second.computed == 40 - second.reused
    go(Double(), places, tmp_path / "b")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


class Large(Double):
    uses_torch = True
    batch_rows = 16

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.outcome(
    "the memory of a GPU is too small",
    "the stage ends with one sentence that says what was tried; no batch is made smaller on "
    "the way, because the rows of a smaller batch differ in the last bits",
)
def test_out_of_device_memory_is_one_sentence(tmp_path: Path) -> None:
    """It names what was tried and the settings, and no batch is made smaller. There is no GPU here: torch's own error
    is raised by hand."""
    transform = Large()
    with pytest.raises(
        StageError, match=r"batch = 4 in \.mer\.toml.*16 rows.*CUDA out of memory.*device = \"cpu\""
    ) as error:
        go(transform, manifest(tmp_path, list(range(1, 9))), tmp_path, store="store", batch=4)
    assert error.value.exit_code == 1
    assert transform.batch_rows == 16
    assert not (tmp_path / "rows").exists()


class Buggy(Double):
    """A number above 99 is one that nobody thought of, in `prepare` or in `infer`."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def prepare(self, clip: Clip) -> int:
        x = super().prepare(clip)
        return int(str(clip.rows["none"])) if self.where == "prepare" and x > 99 else x  # KeyError

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        rows = super().infer(items)
        return [{} if self.where == "row" and item > 99 else row for item, row in zip(items, rows, strict=True)]


HERE = r"tests/test_run\.py:\d+"


@pytest.mark.outcome("in some clips", "and are never remembered")
@pytest.mark.parametrize("where", ["prepare", "row"])
def test_a_bug_keeps_its_traceback(tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the quarantine and in the log, with file and line and no path of this machine; the others have their rows,
    and nothing of it is remembered."""
    places = manifest(tmp_path, [1, 100, 2, 3])
    summary = go(Buggy(where), places, tmp_path, store="store", batch=2)
    assert (summary.done, summary.failed.total()) == (3, 1)
    (problem,) = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert (problem["clip_id"], problem["error"]) == ("clip001", "KeyError" if where == "prepare" else "ValueError")
    assert problem["traceback"].startswith('Traceback (most recent call last):\n  File "')
    assert str(tmp_path) not in problem["traceback"]
    assert "/work" not in problem["traceback"].replace("tests/", "")
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert said[0].details == problem["traceback"]
    if where == "prepare":
        assert re.search(f"double: KeyError at {HERE} for .clip001.: .none", said[0].getMessage())
        assert 'clip.rows["none"]' in problem["traceback"]
    else:
        assert "Buggy gave a row without y" in said[0].getMessage()
    assert go(Double(), places, tmp_path / "again", store="store").computed == 4, "it is other code"
    assert go(Buggy(where), places, tmp_path / "again", store="store").computed == 1


@pytest.mark.outcome("in some clips", "they count for `quality.max_failed` like any other")
def test_bugs_count_as_failures(tmp_path: Path) -> None:
    """Two of ten are more than a tenth."""
    with pytest.raises(TooManyFailed, match=r"double: 2 of 10 clips failed"):
        go(Buggy("prepare"), manifest(tmp_path, [*range(8), 100, 101]), tmp_path, max_failed=0.1)


@pytest.mark.outcome(
    "in every clip of the first batch, where no row of this code is known from before",
    "the run ends at once: exit code 1, one sentence with file and line",
)
@pytest.mark.parametrize("where", ["prepare", "row"])
def test_a_bug_that_every_clip_has_ends_the_run_at_once(tmp_path: Path, where: str) -> None:
    """One sentence with file and line, whatever may fail; the quarantine has those that were tried, and nothing else is
    written."""
    with pytest.raises(Bug, match=r"double: (KeyError|ValueError) at .*\.py:\d+.*all of the first \d+ clips") as caught:
        go(Buggy(where), manifest(tmp_path, [-1, *range(100, 1000)]), tmp_path, max_failed=1.0, batch=4)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "rows").exists()
    assert 4 <= pq.read_table(tmp_path / "quarantine.parquet").num_rows < 100


@pytest.mark.outcome(
    "in every clip of the first batch, where no row of this code is known from before", "the run ends at once"
)
def test_a_bug_in_all_new_clips_does_not_end_a_run_that_has_rows(tmp_path: Path) -> None:
    """Else what becomes of clips would depend on which of them were known."""
    go(Buggy("prepare"), manifest(tmp_path, list(range(20))), tmp_path, store="store")
    summary = go(Buggy("prepare"), manifest(tmp_path, [*range(20), *[100] * 6]), tmp_path, store="store", batch=2)
    assert (summary.reused, summary.failed) == (20, {"KeyError": 6})


class Alone(Double):
    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        (item,) = items
        return super().infer([item])


@pytest.mark.outcome("in a batch", "that is said, and its clips are tried alone")
@local_only
def test_a_batch_that_fails_by_a_bug_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A transform that can compute one clip at a time only: its rows are there, and it is no secret that each was tried
    alone."""
    summary = go(Alone(), manifest(tmp_path, [0, 2, 4, 6]), tmp_path, workers=1, batch=4)
    assert summary.done == 4
    (record,) = caplog.records
    assert re.search(f"double: ValueError at {HERE} in a batch of 4 clips; each is tried alone", record.getMessage())


class Short(Double):
    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        return super().infer(items)[1:]


def test_a_short_result_is_a_bug_and_no_shift(tmp_path: Path) -> None:
    """`infer` gave a row too few: nobody can say whose they are."""
    with pytest.raises(Bug, match=r"Short\.infer gave 0 rows for 1 clips"):
        go(Short(), manifest(tmp_path, [1, 2, 3]), tmp_path, max_failed=1.0)


class Slow(Double):
    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        rows = super().infer(items)
        with Path("done").open("a") as file:
            file.write(f"{time.time()}\n" * len(rows))
        time.sleep(0.05)
        return rows


def test_rows_are_saved_while_the_run_goes_on(tmp_path: Path) -> None:
    """At most flush_s of work waits: whoever looks into the packs during a run finds all rows that are older."""
    kept: list[int] = []
    late: list[float] = []

    def look(done: int, total: int) -> None:
        kept.append(sum(pq.read_metadata(path).num_rows for path in packs(tmp_path)))
        finished = sorted(map(float, Path("done").read_text().split())) if Path("done").exists() else []
        late.append(time.time() - min(finished[kept[-1] :], default=time.time()))

    go(
        Slow(),
        manifest(tmp_path, list(range(80))),
        tmp_path,
        store="store",
        flush_s=0.2,
        workers=1,
        batch=1,
        progress=look,
    )
    assert any(0 < count < 80 for count in kept)
    assert max(late) < 10 * 0.2 / 2, "the oldest row that waits, in seconds"


def test_an_engine_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the nearest that is."""
    monkeypatch.setattr("tests.test_run.engine_name", "locl")
    with pytest.raises(ParamsError, match=r"no engine 'locl' \(did you mean 'local'\?\)"):
        go(Double(), manifest(tmp_path, [1]), tmp_path)


@pytest.mark.parametrize("engine", ["tests.processes:Processes"], indirect=True)
def test_workers_that_keep_rows_elsewhere_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is another store on another machine."""
    row_cache_of = processes.row_cache_of

    def elsewhere(transform: Transform[int], runtime: Runtime, shards: int) -> RowCache:
        store = StoreSettings(url=str(tmp_path / "other"))
        return row_cache_of(transform, runtime.model_copy(update={"store": store}), shards)

    monkeypatch.setattr(processes, "row_cache_of", elsewhere)
    with pytest.raises(StoreError, match=r"the store does not have it.*MER_STORE"):
        go(Double(), manifest(tmp_path, [1, 2]), tmp_path, store="store")


@pytest.mark.parametrize("engine", ["tests.processes:Processes"], indirect=True)
def test_packs_of_workers_are_of_one_shard_each(tmp_path: Path) -> None:
    """So that a shard, when it is written, can take their place."""
    go(Double(), manifest(tmp_path, list(range(30))), tmp_path, store="store")
    shards = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "rows").iterdir()}
    assert shards == {path.stem for path in packs(tmp_path)}


def test_each_run_writes_what_it_did(tmp_path: Path, engine: str) -> None:
    """.mer/runs: counts, reasons, seconds and bytes; the rate of the last run that computed anything stays."""
    places = manifest(tmp_path, [1, 2, -1, -2])
    go(Double(), places, tmp_path, store="store")
    first = read_run("double")
    go(Double(), places, tmp_path, store="store")
    second = read_run("double")
    assert first is not None
    assert second is not None
    assert (first.computed, first.skipped, first.failed) == (4, {"negative": 1}, {"BadInput": 1})
    assert first.bytes_out > 0
    assert first.bytes_store > 0 or engine != "local", "what workers wrote is not counted"
    assert first.spent.prepare > 0
    assert (second.computed, second.reused, second.bytes_store, second.rate) == (0, 4, 0, first.rate)


def test_provenance_is_in_the_footer(tmp_path: Path) -> None:
    """What made the rows, and no time or place."""
    go(Double(), manifest(tmp_path, [1, 2]), tmp_path)
    footer = pq.read_schema(tmp_path / "rows/part-00000.parquet").metadata
    assert {b"mer.transform", b"mer.fingerprint", b"mer.parts", b"mer.shard"} <= footer.keys()
    assert str(tmp_path).encode() not in b"".join(footer.values())
