"""Facts about the runner and the local engine, on transforms that cost nothing."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.clips import Clip, Row
from mer_pipeline.engines import local
from mer_pipeline.errors import BadInput, CheckpointError, Skip, StageError, TooManyFailed, Transient
from mer_pipeline.run import run
from mer_pipeline.runs import Summary, read_run
from mer_pipeline.runtime import Runtime, StoreSettings
from mer_pipeline.section import Section
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import digest
from mer_pipeline.tables.shards import ShardParams, write_table
from mer_pipeline.transform import Source, Transform
from tests.conftest import rows_of

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
        self.tries = 0

    def prepare(self, clip: Clip) -> int:
        x = int(str(clip.need("manifest")["x"]))
        if x == -1:
            raise Skip("negative")
        if x == -2:
            raise BadInput("bad number")
        if x == -3:
            self.tries += 1
            if self.tries < 3:
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


def go(
    transform: Transform[int],
    places: dict[str, Path],
    out: Path,
    max_failed: float = 0.5,
    store: str = "none",
    flush_s: float = 30.0,
    **runtime: int,
) -> Summary:
    return run(
        transform,
        places,
        out / "rows",
        out / "quarantine.parquet",
        shards=ShardParams(count=3),
        quality=QualityParams(max_failed=max_failed),
        runtime=Runtime(device="cpu", store=StoreSettings(url=store, flush_s=flush_s), **runtime),
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


def test_one_bad_item_does_not_take_its_batch_along(tmp_path: Path) -> None:
    """The item that spoils a batch is found and quarantined; its companions have their rows."""
    transform = Double()
    transform.broken = frozenset({4})
    summary = go(transform, manifest(tmp_path, [0, 2, 4, 6, 8]), tmp_path, workers=1, batch=5)
    assert summary.done == 4
    assert pq.read_table(tmp_path / "quarantine.parquet")["clip_id"].to_pylist() == ["clip002"]


def test_transient_failures_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes well at the third try is done."""
    monkeypatch.setattr(local, "TRANSIENT_PAUSE_S", 0.0)
    transform = Double()
    assert go(transform, manifest(tmp_path, [-3]), tmp_path).done == 1
    assert transform.tries == 3


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


def test_an_unfit_model_stops_before_any_clip(tmp_path: Path) -> None:
    """Errors of set-up are a person's to mend and exit with 2."""

    class NoModel(Double):
        uses_torch = True

        def setup(self, device: object) -> None:
            raise CheckpointError("no model")

        def prepare(self, clip: Clip) -> int:
            raise AssertionError("reached a clip")

    with pytest.raises(CheckpointError):
        go(NoModel(), manifest(tmp_path, [1]), tmp_path)
    assert not (tmp_path / "rows").exists()


def test_interruption_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Ctrl-C in the middle: the old folder stays, no temporary one is left."""

    class Interrupted(Double):
        def infer(self, items: Sequence[int]) -> list[Row | Skip]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(Interrupted(), manifest(tmp_path, [1, 2, 3]), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".mer") == ["manifest.parquet"]


def test_memory_is_bounded_by_the_window(tmp_path: Path) -> None:
    """Clips are pulled from the source as they are needed, not all at once."""
    pulled, done = 0, 0

    def source() -> object:
        nonlocal pulled
        for at in range(500):
            pulled += 1
            yield Clip(str(at), "", {"manifest": {"x": at}})

    for outcomes in local.stream(Double(), source(), Runtime(workers=2, batch=4, device="cpu")):  # type: ignore[arg-type]
        done += len(outcomes)
        assert pulled - done <= 4 * (2 + 2 + 1)
    assert done == 500


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


def test_out_of_device_memory_halves_the_batch_and_is_remembered_apart(tmp_path: Path) -> None:
    """There is no GPU here: torch's own error is raised by hand above four rows. The run goes on with four, and its
    rows are kept under a fingerprint that says so."""

    class Large(Double):
        uses_torch = True
        batch_rows = 16

        def infer(self, items: Sequence[int]) -> list[Row | Skip]:
            import torch

            if self.batch_rows > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().infer(items)

    places = manifest(tmp_path, list(range(1, 9)))
    transform = Large()
    summary = go(transform, places, tmp_path / "a", store="store", workers=1)
    assert (summary.done, transform.batch_rows) == (8, 4)
    parts = [json.loads(path.read_text()) for path in (tmp_path / "store/packs/double").glob("*/fingerprint.json")]
    kept = {Path(path).parent.name for path in packs(tmp_path)}
    assert [part["rows"] for part in parts if digest(part) in kept] == ["4"]
    go(Double(), places, tmp_path / "b")
    assert [row["y"] for row in rows_of(tmp_path / "a/rows")] == [row["y"] for row in rows_of(tmp_path / "b/rows")]


def test_each_run_writes_what_it_did(tmp_path: Path) -> None:
    """.mer/runs: counts, reasons, seconds and bytes; the rate of the last run that computed anything stays."""
    places = manifest(tmp_path, [1, 2, -1, -2])
    go(Double(), places, tmp_path, store="store")
    first = read_run("double")
    go(Double(), places, tmp_path, store="store")
    second = read_run("double")
    assert first is not None
    assert second is not None
    assert (first.computed, first.skipped, first.failed) == (4, {"negative": 1}, {"BadInput": 1})
    assert first.bytes_out > 0 < first.bytes_store
    assert first.spent.prepare > 0
    assert (second.computed, second.reused, second.bytes_store, second.rate) == (0, 4, 0, first.rate)


def test_provenance_is_in_the_footer(tmp_path: Path) -> None:
    """What made the rows, and no time or place."""
    go(Double(), manifest(tmp_path, [1, 2]), tmp_path)
    footer = pq.read_schema(tmp_path / "rows/part-00000.parquet").metadata
    assert {b"mer.transform", b"mer.fingerprint", b"mer.parts", b"mer.shard"} <= footer.keys()
    assert str(tmp_path).encode() not in b"".join(footer.values())
