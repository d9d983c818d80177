import hashlib
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.base.errors import StageError
from mer_pipeline.tables.rows import complete_row, stage_schema
from mer_pipeline.tables.shards import (
    new_folder,
    read_folder,
    read_shard,
    shard_name,
    shard_of,
    write_shard,
    write_table,
)

VALUES = pa.schema([pa.field("x", pa.int64())])


@given(st.text(), st.integers(1, 1000))
def test_a_clip_has_one_shard(clip_id: str, count: int) -> None:
    """The bucket is in range and depends on nothing but id and count."""
    assert 0 <= shard_of(clip_id, count) < count
    assert shard_of(clip_id, count) == shard_of(clip_id, count)


def test_buckets_are_what_they_always_were() -> None:
    """Golden values: another hash would move every clip of every user to another shard."""
    assert [shard_of(name, 64) for name in ("samplenew_00000001", "带 空格", "a")] == [59, 25, 47]


def test_buckets_are_even() -> None:
    """No shard has more than a few per cent above its share."""
    counts = [0] * 16
    for at in range(16_000):
        counts[shard_of(f"sample_{at:08d}", 16)] += 1
    assert max(counts) < 1.15 * 1000
    assert min(counts) > 0.85 * 1000


@given(
    st.lists(st.tuples(st.text(min_size=1), st.integers(-9, 9)), unique_by=lambda pair: pair[0], max_size=12),
    st.randoms(),
)
def test_a_shards_bytes_do_not_depend_on_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], random: object
) -> None:
    """Rows are sorted by clip; the file says nothing about when or where it was written."""
    folder = tmp_path_factory.mktemp("shards")
    made = [complete_row(clip_id, "i", {"x": x}, None, VALUES) for clip_id, x in rows]
    digests = set()
    for bucket in range(2):
        random.shuffle(made)  # type: ignore[attr-defined]
        write_shard(folder, bucket, made, stage_schema(VALUES), {"transform": "t"})
        digests.add(hashlib.sha256((folder / shard_name(bucket)).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_footer_says_what_made_the_rows(tmp_path: Path) -> None:
    """Provenance travels with the file."""
    write_shard(tmp_path, 0, [], stage_schema(VALUES), {"transform": "t", "params": "{}"})
    assert pq.read_schema(tmp_path / shard_name(0)).metadata[b"mer.transform"] == b"t"


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """An error in the middle leaves what was there before, and no temporary files."""
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(FileNotFoundError), new_folder(out) as folder:
        (folder / "b" / "c").write_text("2")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "a"]


def test_a_table_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """The same for a single file."""
    table = pa.table({"clip_id": ["a"]})
    write_table(tmp_path / "t.parquet", table)
    before = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(AttributeError):
        write_table(tmp_path / "t.parquet", None)
    assert (tmp_path / "t.parquet").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_another_shard_count_is_an_error(tmp_path: Path) -> None:
    """Reading with the wrong count would silently lose clips."""
    write_shard(tmp_path, 0, [], stage_schema(VALUES), {})
    with pytest.raises(StageError, match="dvc repro"):
        read_shard(tmp_path, 0, 2)
    with pytest.raises(StageError, match="no shards"):
        read_folder(tmp_path / "none")


READ_FROM_PYTHON = """
import io, os, time
import polars as pl, pyarrow as pa
from mer_pipeline.tables.parts import ParquetSide, Part
from mer_pipeline.tables.shards import read_parquet, table_bytes

def threads():  # Arrow's have no names of their own; others' have the program's until they take theirs
    names = [open(f"/proc/self/task/{id}/comm").read() for id in os.listdir("/proc/self/task")]
    return names.count(open("/proc/self/comm").read())

data = table_bytes(pa.table({"a": list(range(99)), "b": [str(i) for i in range(99)]}))
before = threads()
assert read_parquet(data, ["b"]).num_rows == 99
side = ParquetSide([Part("x", lambda: io.BytesIO(data))])
assert side.take(pl.Series([0]), pl.Series([3]), ["a"])["a"].to_pylist() == [3]
assert len(side.keys(["a"])) == 99
for _ in range(100):
    if threads() > before:
        time.sleep(.05)
print(threads() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads where Linux lists them")
def test_no_thread_of_arrows_holds_what_is_pythons() -> None:
    """One that lets go of it while the interpreter ends would abort a command that has done its work."""
    done = subprocess.run([sys.executable, "-c", READ_FROM_PYTHON], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
