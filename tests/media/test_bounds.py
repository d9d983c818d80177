import struct
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mer_pipeline.base.errors import BadInput
from mer_pipeline.media import bounds
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.media.probe import probe
from mer_pipeline.media.sound import read_sound
from tests.media.make import boxes, make, replace, write


def every(times: np.ndarray, end: float) -> np.ndarray:
    return np.arange(len(times))


FULL = b"\0\0\0\0"  # version and flags


def edits(count: int, rows: int | None = None) -> bytes:
    """The content of an edit list that shows the whole of a film as often as wanted."""
    row = struct.pack(">IiI", 2000, 0, 0x10000)
    return FULL + struct.pack(">I", count) + row * (count if rows is None else rows)


def pair(*rows: tuple[int, ...]) -> bytes:
    """The content of a table of 32-bit numbers."""
    return FULL + struct.pack(">I", len(rows)) + b"".join(struct.pack(f">{len(row)}I", *row) for row in rows)


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an edit list that shows the film 9,900 times": (
        lambda data: replace(data, b"elst", edits(9_900)),
        "an edit list has 9900 entries for 40 samples",
    ),
    "an edit list with more entries than bytes": (
        lambda data: replace(data, b"elst", edits(3_383_601_173, rows=100)),
        "the table elst has more entries than there is room for",
    ),
    "times for more samples than the film has bytes": (
        lambda data: replace(data, b"stts", pair((4_000_000_000, 512))),
        "a track promises 4000000000 samples",
    ),
    "offsets for more samples": (
        lambda data: replace(data, b"ctts", pair(*[(0x7FFFFFFF, 0)] * 8)),
        "a track promises 17179869176 samples",
    ),
    "samples of one byte each": (
        lambda data: replace(data, b"stsz", FULL + struct.pack(">II", 1, 1_000_000_000)),
        "a track promises 1000000000 samples",
    ),
    "more sizes than there is room for": (
        lambda data: replace(data, b"stsz", FULL + struct.pack(">II", 0, 1_000_000_000)),
        "the table stsz has more entries than there is room for",
    ),
    "chunks that hold too many samples": (
        lambda data: replace(data, b"stsc", pair((1, 4_000_000_000, 1))),
        "samples",
    ),
    "two tables of sizes": (
        lambda data: replace(data, b"stss", FULL + struct.pack(">II", 0, 0)).replace(b"stss", b"stsz", 1),
        "a track has two tables of one kind",
    ),
    "a compressed header": (lambda data: replace(data, b"udta", b"").replace(b"udta", b"cmov"), "it is compressed"),
    "twenty tracks": (
        lambda data: data + struct.pack(">I4s", 8 + 20 * 8, b"moov") + struct.pack(">I4s", 8, b"trak") * 20,
        "streams, more than 16",
    ),
    "boxes in boxes": (
        lambda data: data + b"".join(struct.pack(">I4s", 8 * left, b"moov") for left in range(40, 0, -1)),
        "nested too deeply",
    ),
}


@pytest.mark.outcome(
    "header that promises more than the file can hold", "quarantined at once, before it is decoded; see Bounds"
)
@pytest.mark.outcome(
    "samples of an mp4's track, by each of its tables",
    "16 for each byte of the file; 2,000,000 where FFmpeg lists them one by one",
)
@pytest.mark.outcome("entries of an edit list", "8, or 20,000 divided by the samples of its track")
@pytest.mark.outcome("entries of any table of an mp4", "as many as there is room for")
@pytest.mark.outcome("nested boxes of an mp4", "8; a compressed header and a second table of one kind are refused")
@pytest.mark.parametrize("name", BROKEN)
def test_a_header_that_promises_too_much_is_refused_at_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before FFmpeg sees it, with one sentence that says what is wrong, for good."""
    change, says = BROKEN[name]
    path = make(tmp_path, "late_header.mp4")
    path.write_bytes(change(path.read_bytes()))
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: pytest.fail("FFmpeg was asked"))
    begin = time.monotonic()
    for attempt in (
        probe,
        lambda path: list(read_pictures(path, lambda times, end: times)),
        lambda p: read_sound(p, 9),
    ):
        with pytest.raises(BadInput, match=says):
            attempt(path)
    assert time.monotonic() - begin < 1


@pytest.mark.outcome("samples in all fragments of an mp4", "one for each byte of the file, and 32,000,000")
def test_fragments_are_bounded_together(tmp_path: Path) -> None:
    """Each may promise less than the file has bytes, and all together more."""
    path = make(tmp_path, "fragments.mp4")
    data = bytearray(path.read_bytes())
    for kind, start, _ in boxes(bytes(data)):
        if kind == b"trun":
            struct.pack_into(">I", data, start + 12, len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"its fragments promise \d+ samples"):
        probe(path)


def test_a_film_with_a_few_edits_is_taken(tmp_path: Path) -> None:
    """A trimmed or joined film has some entries, and a long film many samples."""
    path = make(tmp_path, "late_header.mp4")
    path.write_bytes(replace(path.read_bytes(), b"elst", edits(bounds.MAX_EDITS)))
    assert probe(path).width == 160


@pytest.mark.outcome("samples of an mp4's track, by each of its tables", "2,000,000 where FFmpeg lists them one by one")
def test_raw_sound_has_more_samples_than_are_listed(tmp_path: Path) -> None:
    """A minute of PCM has millions of samples, which FFmpeg lists by chunks."""
    path = write(tmp_path / "a.mov", None, "pcm_s16le", frames=1200, rate=48_000)
    assert bounds.MAX_SAMPLES < 1200 / 20 * 48_000
    assert len(read_sound(path, 90)) == 60 * 16_000


@pytest.mark.outcome("pixels of all frames", "10⁹, and 10⁵ more for each byte of the file")
def test_frames_are_bounded_by_the_files_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that repeat a huge picture would take minutes; a black film is still far below the bound."""
    path = write(tmp_path / "a.mp4", "libx264", None, frames=20)
    monkeypatch.setattr("mer_pipeline.media.decode.PIXELS", 0)
    assert len(list(read_pictures(path, every))) == 20
    monkeypatch.setattr("mer_pipeline.media.decode.PIXELS_PER_BYTE", 10)
    with pytest.raises(BadInput, match="more frames of 160x120 pixels than its size allows"):
        list(read_pictures(path, every))
