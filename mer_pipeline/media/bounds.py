"""Bound what the tables of an mp4 promise by what the file can hold, before FFmpeg follows them.

FFmpeg trusts these tables. A few kilobytes can promise millions of samples, or an edit list that shows all samples
thousands of times. FFmpeg then takes minutes or gigabytes. Each bound here is wide for any real clip. The other
containers have no such tables: FFmpeg reads them as it goes, so that the size of the file bounds the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.errors import BadInput

MAX_STREAMS = 16
MAX_DEPTH = 8

# The most samples of a track that FFmpeg lists one by one. An hour of 240 frames per second has half as many.
MAX_SAMPLES = 2_000_000
# The most samples that tables may promise for each byte of the file. Old sound formats hold several in a byte.
SAMPLES_PER_BYTE = 16

# FFmpeg goes through the samples once for each entry of an edit list. A trimmed clip has one entry or a few.
MAX_EDITS = 8
MAX_EDITED = 20_000

FOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"})
ROWS = {b"stts": 8, b"ctts": 8, b"stsc": 12, b"stco": 4, b"co64": 8, b"stss": 4, b"stps": 4, b"elst": 12}  # bytes each
TABLES = frozenset({b"stsz", b"stz2", *ROWS})


class Box(NamedTuple):
    """A box of an mp4.

    Attributes:
        kind: its type.
        start, end: where its content lies in the file; the end is at most that of the place where the box lies.
        says: where the box ends according to its own header.
    """

    kind: bytes
    start: int
    end: int
    says: int


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """Find the boxes that lie one after the other between two places of a file, without those inside of them."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, kind, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, skip = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - start
        if size < skip:
            return
        yield Box(kind, start + skip, min(start + size, end), start + size)
        start += size


def check_bounds(file: BinaryIO) -> None:
    """Check the tables of an mp4 or mov file.

    Args:
        file: the open file; its position is moved.

    Raises:
        BadInput: if the file has too many tracks, its header is compressed or nested too deeply, or a table promises
            more than the file can hold.
    """
    size = os.fstat(file.fileno()).st_size
    tracks = in_fragments = 0
    for box in _walk(file, 0, size, 0):
        if box.kind == b"cmov":
            raise broken("it is compressed")
        if box.kind == b"trak":
            tracks += 1
            _check_track(file, list(_walk(file, box.start, box.end, 1)), size)
        if box.kind == b"trun":
            in_fragments += _number(file, box, 4)
    if in_fragments > min(size, SAMPLES_PER_BYTE * MAX_SAMPLES):
        raise broken(f"its fragments promise {in_fragments} samples")
    if tracks > MAX_STREAMS:
        raise BadInput(f"the file has {tracks} streams, more than {MAX_STREAMS}")


def broken(why: str) -> BadInput:
    """Return the error of a file whose header promises what the file cannot hold."""
    return BadInput(f"the file's header is broken: {why}; copy the file again or convert it")


def _walk(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[Box]:
    """Find all boxes, the inner ones after the one that holds them."""
    if depth > MAX_DEPTH:
        raise broken("its boxes are nested too deeply")
    for box in boxes(file, start, end):
        yield box
        if box.kind in FOLDERS:
            yield from _walk(file, box.start, box.end, depth + 1)


def _check_track(file: BinaryIO, inner: list[Box], size: int) -> None:
    """Check the tables of one track.

    Args:
        file: the open file.
        inner: the boxes of the track.
        size: the file's, in bytes.
    """
    tables = [box for box in inner if box.kind in TABLES]
    found = {box.kind: box for box in tables}
    if len(found) < len(tables):
        raise broken("a track has two tables of one kind")
    for kind, row in ROWS.items():
        if kind in found and _number(file, found[kind], 4) * row > found[kind].end - found[kind].start:
            raise broken(f"the table {kind.decode()} has more entries than there is room for")
    samples, listed = _samples(file, found)
    promised = [samples, *(_column(file, found[kind], 2, 0).sum() for kind in (b"stts", b"ctts") if kind in found)]
    if b"stsc" in found:
        chunks = sum(_number(file, found[kind], 4) for kind in (b"stco", b"co64") if kind in found)
        promised.append(_in_chunks(_column(file, found[b"stsc"], 3, 0), _column(file, found[b"stsc"], 3, 1), chunks))
    most = max(promised)
    if most > SAMPLES_PER_BYTE * size or (listed and most > MAX_SAMPLES):
        raise broken(f"a track promises {most:.0f} samples")
    edits = _number(file, found[b"elst"], 4) if b"elst" in found else 0
    if edits > MAX_EDITS and edits * samples > MAX_EDITED:
        raise broken(f"an edit list has {edits} entries for {samples} samples")


def _samples(file: BinaryIO, found: dict[bytes, Box]) -> tuple[int, bool]:
    """Return a track's number of samples, and whether FFmpeg lists them one by one. It lists raw sound by chunks."""
    if b"stz2" in found:
        return _number(file, found[b"stz2"], 8), True
    if b"stsz" not in found:
        return 0, True
    each, samples = _number(file, found[b"stsz"], 4), _number(file, found[b"stsz"], 8)
    if each == 0 and samples * 4 > found[b"stsz"].end - found[b"stsz"].start:
        raise broken("the table stsz has more entries than there is room for")
    steps = _column(file, found[b"stts"], 2, 1) if b"stts" in found else np.zeros(0)
    return samples, each == 0 or steps.tolist() != [1.0]


def _in_chunks(first: npt.NDArray[np.float64], per_chunk: npt.NDArray[np.float64], chunks: int) -> float:
    """Return how many samples all chunks hold; an entry is for its first chunk up to the next entry's."""
    until = np.append(first[1:], chunks + 1)
    return float((np.clip(until - first, 0, chunks) * per_chunk).sum())


def _number(file: BinaryIO, box: Box, at: int) -> int:
    """Read a number of 32 bits at a place in a box; it is 0 if the box is shorter."""
    file.seek(box.start + at)
    return int.from_bytes(file.read(4), "big") if box.start + at + 4 <= box.end else 0


def _column(file: BinaryIO, box: Box, columns: int, at: int) -> npt.NDArray[np.float64]:
    """Read a column of a table of 32-bit numbers: (rows,) float64, in which no sum overflows."""
    rows = _number(file, box, 4)
    file.seek(box.start + 8)
    table = np.frombuffer(file.read(rows * columns * 4), ">u4")
    return table[: table.size // columns * columns].reshape(-1, columns)[:, at].astype(np.float64)
