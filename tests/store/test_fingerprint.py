"""What is in a fingerprint, and what is not."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mer_pipeline.store import fingerprint
from mer_pipeline.store.code import libraries
from mer_pipeline.store.fingerprint import Fingerprint, changed_parts, fingerprint_of, sha256_of
from mer_pipeline.text.char_ngram import CharNgram, CharNgramParams
from mer_pipeline.vision.detector import MtcnnParams
from mer_pipeline.vision.frames import FrameParams, SampleFrames
from mer_pipeline.vision.tracks import FollowFaces


def frames(**params: object) -> SampleFrames:
    return SampleFrames(FrameParams(**params), Path("somewhere"))  # type: ignore[arg-type]


def test_params_by_key() -> None:
    """A changed value is one changed part, named by its key; changed back, the fingerprint is the old one."""
    before, after = fingerprint_of(frames(n=4), "any"), fingerprint_of(frames(n=5), "any")
    assert changed_parts(before.parts, after.parts) == {"params.n": ("4", "5")}
    assert fingerprint_of(frames(n=4), "any").id == before.id != after.id


def test_paths_are_not_in_it() -> None:
    """The same clips mounted elsewhere are the same."""
    other = SampleFrames(FrameParams(), Path("elsewhere"))
    assert fingerprint_of(frames(), "any").id == fingerprint_of(other, "any").id


def test_decoder_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a library that computes is another fingerprint; of one that only carries values, it is not."""
    parts = fingerprint_of(frames(), "any").parts
    assert "FFmpeg" in parts["library.av"]
    assert {"library.numpy", "library.pillow"} <= parts.keys()
    assert not {"library.pyarrow", "library.pydantic"} & parts.keys()
    before, versions = fingerprint_of(frames(), "any"), libraries.version_of
    monkeypatch.setattr(libraries, "version_of", lambda name: "99" if name in ("numpy", "pyarrow") else versions(name))
    assert list(changed_parts(before.parts, fingerprint_of(frames(), "any").parts)) == ["library.numpy"]


def test_device_threads_and_rows() -> None:
    """Where torch computes: the device kind with its kernels, the precision, the thread count and the batch rows."""
    transform, wider = FollowFaces(MtcnnParams(), Path("x")), FollowFaces(MtcnnParams(), Path("x"))
    wider.batch_rows = 8
    cpu, gpu = fingerprint_of(transform, "cpu"), fingerprint_of(transform, "cuda")
    changed = [name.removeprefix("library.") for name in changed_parts(cpu.parts, gpu.parts)]
    assert [name for name in changed if not libraries.ON_GPU.match(name)] == ["device"]
    assert {"precision", "threads", "rows"} <= cpu.parts.keys()
    assert "rows" in changed_parts(cpu.parts, fingerprint_of(wider, "cpu").parts)
    assert "device" not in fingerprint_of(frames(), "any").parts


def test_weights_by_content(tmp_path: Path) -> None:
    """A checkpoint's weights, configuration and tokeniser count by content; its README and its place do not."""
    from mer_pipeline.base.encoder import make_encoder
    from mer_pipeline.models.tiny import make_tiny
    from mer_pipeline.text.hf_text import HfTextParams

    folder = make_tiny("bert", tmp_path / "bert", 0)
    params = HfTextParams(family="hf-text", input="transcript", checkpoint=f"dir:{folder}")
    before = fingerprint_of(make_encoder("x", params), "cpu")
    (folder / "README.md").write_text("hello")
    assert fingerprint_of(make_encoder("x", params), "cpu").id == before.id
    shutil.copy(make_tiny("bert", tmp_path / "other", 1) / "model.safetensors", folder)
    after = fingerprint_of(make_encoder("x", params), "cpu")
    assert list(changed_parts(before.parts, after.parts)) == ["file.model.safetensors"]


def test_the_detectors_weights_count() -> None:
    """MTCNN's three nets, in the wheel."""
    parts = fingerprint_of(FollowFaces(MtcnnParams(), Path("x")), "cpu").parts
    assert {"file.pnet.pt", "file.rnet.pt", "file.onet.pt"} <= parts.keys()


def test_a_large_file_altered_in_place_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash is remembered, and forgotten even when size and modification time are put back."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights"
    path.write_bytes(b"a" * (fingerprint.WORTH_REMEMBERING + 1))
    before, state = sha256_of(path), path.stat()
    assert sha256_of(path) == before
    path.write_bytes(b"b" * (fingerprint.WORTH_REMEMBERING + 1))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert sha256_of(path) != before


def test_the_schema_and_the_declared_columns_count() -> None:
    """An encoder of another length or with frame-level vectors is another."""
    short = CharNgramParams(family="char-ngram", input="transcript", dim=8)
    prints = {
        fingerprint_of(CharNgram("x", p), "any").parts["schema"] for p in (short, short.model_copy(update={"dim": 9}))
    }
    assert len(prints) == 2


def test_provenance_is_short_and_has_every_part() -> None:
    """A shard's footer names params, libraries and files; the code is one digest."""
    said = fingerprint_of(frames(n=3), "any").provenance()
    parts = json.loads(said["parts"])
    assert parts["params.n"] == "3"
    assert len(parts["code"]) == 32
    assert not [name for name in parts if name.startswith("code.")]
    assert said["fingerprint"] == fingerprint_of(frames(n=3), "any").id


def test_order_of_parts_does_not_matter() -> None:
    """A fingerprint is a set of named values."""
    assert Fingerprint({"a": "1", "b": "2"}).id == Fingerprint({"b": "2", "a": "1"}).id
