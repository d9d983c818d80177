"""Facts about features that were made elsewhere: real files, the real runner, hostile bytes."""

import io
import pickle
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mer_pipeline.base.csv_files import note_unmatched
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.errors import BadInput, DatasetError
from mer_pipeline.base.modalities import load_features
from mer_pipeline.base.run import run
from mer_pipeline.base.runs import Summary
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.external import npy
from mer_pipeline.external.tables import names_of, read_table
from mer_pipeline.features import load
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, write_table
from tests.conftest import rows_of

VECTORS = {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0], "s1/c": [7.0, 8.0, 9.0]}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a list of three clips; what is brought lies in data/external."""
    monkeypatch.chdir(tmp_path)
    write_table(Path("data/clips.parquet"), pa.table({"clip_id": sorted(VECTORS)}))
    (tmp_path / "data/external").mkdir()
    return tmp_path / "data/external"


def go(name: str, out: str = "mine", **options: object) -> Summary:
    """Run the stage; its rows lie in data/features/OUT."""
    encoder = make_encoder(out, ENCODER.parse({"family": "file", "input": f"external/{name}", **options}))
    return run(
        encoder,
        {"clips": Path("data/clips.parquet"), f"external/{name}": Path("data/external", name)},
        Path("data/features", out),
        Path("quarantine.parquet"),
        shards=ShardParams(count=2),
        quality=QualityParams(max_failed=1),
        runtime=Runtime(device="cpu", store=StoreSettings(url="store")),
    )


def rows(out: str = "mine") -> dict[str, object]:
    """Each clip's vector as a list, or the reason why there is none, or what the quarantine says."""
    failed = {row["clip_id"]: row["message"] for row in pq.read_table("quarantine.parquet").to_pylist()}
    return {str(row["clip_id"]): row["vector"] or row["reason"] for row in rows_of(Path("data/features", out))} | failed


def save(folder: Path, files: Mapping[str, object]) -> None:
    """One .npy per clip, or the bytes as they are."""
    for name, value in files.items():
        (path := folder / f"{name}.npy").parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        else:
            np.save(path, np.asarray(value))


@pytest.mark.parametrize("form", ["folder", "fixed", "list", "large", "csv"])
def test_every_form_gives_the_same_rows(place: Path, form: str) -> None:
    """A folder of arrays, Parquet of any list type, a CSV: the values as they are, in float32."""
    names, values = list(VECTORS), list(VECTORS.values())
    kinds = {"fixed": pa.list_(pa.float32(), 3), "list": pa.list_(pa.float64()), "large": pa.large_list(pa.float32())}
    if form == "folder":
        save(place / "x", VECTORS)
        go("x")
    elif form == "csv":
        lines = [f"{name},word,{','.join(map(str, of))}" for name, of in VECTORS.items()]
        (place / "x.csv").write_text("\n".join(["name,said,f1,f2,f3", *lines]))
        go("x.csv", column="f")
    else:
        pq.write_table(pa.table({"name": names, "x": pa.array(values, kinds[form])}), place / "x.parquet")
        go("x.parquet")
    assert rows() == VECTORS
    ids, matrix, mask = load("mine", matrix=True)
    assert (ids, mask.all(), matrix.dtype) == (sorted(VECTORS), True, np.float32)
    assert np.array_equal(load_features(Path("data/features"), ["mine"], names).x[0], np.float32(values))


def test_steps_are_averaged_where_they_are_there(place: Path) -> None:
    """A step of NaN alone is none, and of zeros alone where the params say so; one NaN among numbers is a fault."""
    nan = np.nan
    save(place / "x-FRA", {"a": [[1, 2], [nan, nan], [3, 6]], "b": [[0, 0], [2, 4]], "s1/c": [[1, nan], [1, 1]]})
    go("x-FRA", "mine", frame_level=True)
    assert rows() == {"a": [2, 4], "b": [1, 2], "s1/c": "a value is not finite (infinite or not a number)"}
    assert [row["sequence"] for row in rows_of(Path("data/features/mine"))] == [[[1, 2], [3, 6]], [[0, 0], [2, 4]]]
    assert {row["times"] for row in rows_of(Path("data/features/mine"))} == {None}
    go("x-FRA", "other", zeros_absent=True, std=True)
    assert rows("other")["a"] == [2, 4, 1, 2]
    assert rows("other")["b"] == [2, 4, 0, 0]


def test_absent_is_not_zero(place: Path) -> None:
    """No file, no row, a null, no step: a row without a vector, with its reason; the head's mask is false there."""
    save(place / "x", {"a": [1.0, 2.0], "b": np.zeros((0, 2))})
    go("x")
    assert rows() == {"a": [1, 2], "b": "no step", "s1/c": "nothing in external/x"}
    cells = pa.array([[1.0, 2.0], None, [0.0, 0.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"name": list(VECTORS), "x": cells}), place / "x.parquet")
    go("x.parquet", zeros_absent=True)
    assert rows() == {"a": [1, 2], "b": "no vector in external/x.parquet", "s1/c": "nothing but zeros or NaN"}
    assert load_features(Path("data/features"), ["mine"], list(VECTORS)).mask.tolist() == [[True], [False], [False]]


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("open('evil', 'w')",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.ones(4), "a vector of 4 numbers, where the others have 3"),
        (np.ones((2, 3, 4)), "an array of shape (2, 3, 4); (D,) or (T, D) is needed"),
        (np.float64(1), "an array of shape (); (D,) or (T, D) is needed"),
        (np.array(["x", "y"]), "an array of <U1, not of numbers"),
        (np.array([1, np.inf, 2]), "a value is not finite"),
        (np.array([Evil()], object), "an array of object, not of numbers"),
        (pickle.dumps(Evil()), "no readable .npy file"),
        (b"", "no readable .npy file"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"-" * 15 + b"\n", "no readable .npy file"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00", "version 3.0"),
    ],
)
def test_a_broken_file_is_one_clips_affair(place: Path, content: object, says: str) -> None:
    """It is quarantined with what is wrong, the others are done, and nothing in it is run."""
    save(place / "x", {**VECTORS, "s1/c": content})
    go("x")
    assert {name: rows()[name] for name in "ab"} == {name: VECTORS[name] for name in "ab"}
    assert says in str(rows()["s1/c"])
    assert not Path("evil").exists()


def test_a_header_that_promises_more_than_the_file_has(place: Path) -> None:
    """No memory is taken for 10^15 numbers; a torn copy is noticed."""
    save(place / "x", VECTORS)
    good = (place / "x/a.npy").read_bytes()
    huge = good.replace(b"(3,), }              ", b"(999999999999999, 3)}")
    for data in (huge, good[:-1], good + b"\0"):
        assert data != good
        with pytest.raises(BadInput, match="torn: its header says"):
            npy.parse(data)


FLOATS = arrays.arrays(st.sampled_from(["<f4", ">f8", "<f2", "<i4"]), arrays.array_shapes(max_dims=2, max_side=4))


@given(FLOATS, st.booleans())
def test_what_numpy_saves_is_read_as_it_is(array: np.ndarray, fortran: bool) -> None:
    """Any type, byte order and memory layout."""
    file = io.BytesIO()
    np.save(file, np.asfortranarray(array) if fortran else array)
    assert np.array_equal(npy.parse(file.getvalue()), array, equal_nan=array.dtype.kind == "f")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_altered_bytes_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever is done to a file: an array, or BadInput; never another error."""
    file = io.BytesIO()
    np.save(file, np.ones((2, 3), np.float32))
    raw = bytearray(file.getvalue())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 140), st.integers(0, 255)), max_size=8)):
        raw[at % len(raw)] = value
    raw = raw[: data.draw(st.integers(0, len(raw)))] + data.draw(st.binary(max_size=20))
    with suppress(BadInput):
        assert npy.parse(bytes(raw)).ndim in (1, 2)


def test_a_changed_vector_makes_one_row_new(place: Path) -> None:
    """In a folder and in a table alike; a new form of the same table, or a moved file's time, makes none."""
    save(place / "x", VECTORS)
    assert go("x").computed == 3
    save(place / "x", {"b": [4.0, 5.0, 7.0]})
    again = go("x")
    assert (again.computed, again.reused) == (1, 2)

    def write(values: Sequence[Sequence[float]], **options: object) -> None:
        cells = pa.array(values, pa.list_(pa.float32(), 3))
        pq.write_table(pa.table({"name": list(VECTORS), "x": cells}), place / "x.parquet", **options)

    write(list(VECTORS.values()))
    assert go("x.parquet").computed == 3
    write(list(VECTORS.values()), compression="zstd", row_group_size=1)
    assert go("x.parquet").computed == 0
    write([[1, 2, 3.5], *list(VECTORS.values())[1:]])
    assert go("x.parquet").computed == 1
    assert rows()["a"] == [1, 2, 3.5]


def test_where_the_files_lie_does_not_matter(place: Path) -> None:
    """Paths locate and are no part of a row's key: another folder with the same files is another input by name only."""
    save(place / "x", VECTORS)
    go("x")
    shutil.move(place / "x", place / "elsewhere")
    (place / "x").symlink_to(place / "elsewhere")
    assert go("x").computed == 0


@pytest.mark.parametrize(
    ("files", "name", "options", "says"),
    [
        ({}, "x.parquet", {}, "data/external/x.parquet is missing; see the encoder's input"),
        ({}, "x", {}, "data/external/x is no folder, .parquet or .csv"),
        ({"x/readme.txt": b""}, "x", {}, "has no .npy files"),
        ({"x/a.npy": b"no"}, "x", {}, "none of its first files can be read (a.npy: no readable .npy file"),
        ({"x.parquet": b"no"}, "x.parquet", {}, "cannot be read as Parquet"),
        ({"x.parquet": {"clip": ["a"], "x": [[1.0]]}}, "x.parquet", {}, "no column 'name' (known: clip, x)"),
        ({"x.parquet": {"name": ["a"], "x": [1.0]}}, "x.parquet", {}, "has none; say which one is meant"),
        ({"x.parquet": {"name": ["a"], "x": [[1.0]], "y": [[1]]}}, "x.parquet", {}, "2 columns of lists"),
        ({"x.parquet": {"name": ["a"], "face": [[1.0]]}}, "x.parquet", {"column": "fase"}, "did you mean 'face'?"),
        ({"x.parquet": {"name": ["a"], "x": [[[1.0]]]}}, "x.parquet", {"column": "x"}, "not one list of"),
        ({"x.parquet": {"name": ["a", "a"], "x": [[1.0], [2.0]]}}, "x.parquet", {}, "'a' stands there twice"),
        ({"x.parquet": {"name": ["a", ""], "x": [[1.0], [2.0]]}}, "x.parquet", {}, "row 2: 'name' is empty or no text"),
        ({"x.parquet": {"name": ["a"], "x": pa.array([None], pa.list_(pa.float32()))}}, "x.parquet", {}, "has no row"),
        ({"x.csv": b"name,label,f1\na,sad,1\n"}, "x.csv", {}, "'a': 'label' is 'sad', which is no number"),
        ({"x.csv": b"name,f1\na,1\n"}, "x.csv", {"column": "au"}, "no column begins with 'au'"),
        ({"x.csv": b"name,f1\na,\n"}, "x.csv", {}, "has no row with numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_whole_is_said_before_any_clip(
    place: Path, files: Mapping[str, object], name: str, options: Mapping[str, object], says: str
) -> None:
    """One sentence with the place and the remedy."""
    for file, content in files.items():
        (place / file).parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            (place / file).write_bytes(content)
        else:
            pq.write_table(pa.table(content), place / file)
    with pytest.raises(DatasetError) as caught:
        go(name, **options)
    assert says in str(caught.value)
    assert f"data/external/{name}" in str(caught.value)


def test_names_never_leave_the_folder(place: Path) -> None:
    """A clip called `../secret` finds only what the folder lists; a linked folder in it is refused."""
    np.save(place / "secret.npy", np.ones(3))
    save(place / "x", {"a": [1.0, 2.0, 3.0]})
    write_table(Path("data/clips.parquet"), pa.table({"clip_id": ["../secret", "a"]}))
    go("x")
    assert rows() == {"../secret": "nothing in external/x", "a": [1, 2, 3]}
    (place / "other").mkdir()
    (place / "x/linked").symlink_to(place / "other")
    with pytest.raises(DatasetError, match=r"make .*other the encoder's input"):
        go("x")


def test_names_that_are_no_clips(place: Path) -> None:
    """Some are counted; all are an error, because it is the wrong file."""
    save(place / "x", {**VECTORS, "z": [0.0]})
    assert note_unmatched(place / "x", names_of(place / "x"), set(VECTORS)).endswith("are no clips (z)")
    with pytest.raises(DatasetError, match="none of its names is a clip: it says 'a', the manifest 'q'"):
        note_unmatched(place / "x", names_of(place / "x"), {"q"})


def test_std_needs_steps(place: Path) -> None:
    """One vector has no deviation over time; nothing is made up."""
    save(place / "x", VECTORS)
    go("x", std=True)
    assert "`std` asks for the deviation over time" in str(rows()["a"])


def test_a_pandas_index_is_no_feature(tmp_path: Path) -> None:
    """A column without a name counts rows, and "Unnamed: 0" is one that was saved twice."""
    for first in ("", "Unnamed: 0"):
        path = tmp_path / "features.csv"
        path.write_text(f"{first},name,a,b\n0,clip1,0.5,NA\n1,clip2,0.7,0.8\n")
        vectors = read_table(path, None)["vector"].to_pylist()
        assert np.allclose(vectors, [[0.5, np.nan], [0.7, 0.8]], equal_nan=True)
