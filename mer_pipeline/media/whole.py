"""Find out whether a media file is whole, from the sizes that its own structure states.

A container is a chain of pieces, each with its size. If the last piece reaches beyond the end of the file, the file was
cut off. If a piece ends where no other one begins, the file is damaged: FFmpeg would search for the next piece that
it knows, and silently leave out what lies between. No pictures or sound are decoded here. An mp4 without fragments is
not checked here, because the table in its header says more (decode.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mer_pipeline.base.errors import BadInput, Transient
from mer_pipeline.media.bounds import boxes

# Writers may miscount their last piece by a few bytes. So little is no loss.
SLACK = 64

# Sizes that a writer leaves in a RIFF file if it could not go back to fill in the true one.
UNKNOWN_SIZES = range(0x7FFFF000, 0x100000000)

BOXES = frozenset(b"ftyp styp moov moof mdat free skip wide mfra sidx ssix prft emsg uuid meta pdin udta".split(b" "))
AVI_OPENED = frozenset({b"AVI ", b"AVIX", b"movi", b"rec "})
AVI_CHUNK = re.compile(rb"[0-9A-Fa-f]{2}[0-9A-Za-z]{2}|ix\d\d|JUNK|idx1|LIST")  # 00dc, 01wb and their like

MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # per second, of an mp3 frame
MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
IN_SEGMENT = frozenset(
    {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469, CLUSTER, 0xEC, 0xBF}
)
IN_CLUSTER = frozenset({0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xA2, 0x5854, 0xEC, 0xBF})


def check_whole(path: Path, kind: str) -> None:
    """Check that a file is neither cut off nor damaged between the pieces that it is made of.

    Args:
        path: the file.
        kind: FFmpeg's name of its container. Nothing is checked for "flac".

    Raises:
        BadInput: if the file is cut off or damaged.
        Transient: if the disk failed.
    """
    check = CHECKS.get(kind.partition(",")[0])
    if check is None:
        return
    try:
        with path.open("rb") as file:
            check(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise Transient(f"the file cannot be read: {error.strerror}") from None


def cut_off(why: str) -> BadInput:
    """Return the error of a file that lacks its end."""
    return BadInput(f"the file is cut off: {why}; copy it again")


def damaged(why: str) -> BadInput:
    """Return the error of a file that lacks something within."""
    return BadInput(f"the file is damaged: {why}; copy it again")


def _missing(there: int, promised: int) -> BadInput:
    return cut_off(f"it has {there} bytes, and its structure says {promised}")


def _mov(file: BinaryIO, size: int) -> None:
    """Check that there is a header, and check the fragments of a fragmented mp4."""
    found = list(boxes(file, 0, size))
    kinds = {box.kind for box in found}
    for box in found:
        if b"moof" in kinds and box.kind not in BOXES:
            raise damaged(f"no fragment begins at byte {box.start - 8}")
        needed = b"moof" in kinds or b"moov" not in kinds or box.kind == b"moov"
        if needed and box.kind in BOXES and box.says > size:
            raise _missing(size, box.says)


def _wav(file: BinaryIO, size: int) -> None:
    """Check the samples; what follows them does not matter."""
    at = 12
    while at + 8 <= size:
        kind, length = _chunk(file, at)
        if kind == b"data":
            if length and length not in UNKNOWN_SIZES and at + 8 + length > size + SLACK:
                raise _missing(size, at + 8 + length)
            return
        at += 8 + length + length % 2


def _avi(file: BinaryIO, size: int) -> None:
    """Check the chunks of pictures and sound, also those of a file of several parts (OpenDML)."""
    at = last = 0  # `last` is where the list of these chunks ends
    while at + 8 <= size:
        kind, length = _chunk(file, at)
        opened = kind in {b"RIFF", b"LIST"} and file.read(4) in AVI_OPENED
        end = size if opened and (not length or length in UNKNOWN_SIZES) else at + 8 + length
        if at < last and not AVI_CHUNK.fullmatch(kind):
            raise damaged(f"no chunk begins at byte {at}")
        if (opened or at < last) and end > size + SLACK:
            raise _missing(size, end)
        if opened and kind == b"LIST":
            last = max(last, end)
        at = at + 12 if opened else end + length % 2


def _chunk(file: BinaryIO, at: int) -> tuple[bytes, int]:
    """Read the type of a RIFF file's chunk and the length of its content."""
    file.seek(at)
    head = file.read(8)
    return head[:4], int.from_bytes(head[4:], "little")


def _matroska(file: BinaryIO, size: int) -> None:
    """Check the elements of the segment and the blocks of its clusters."""
    at = end = 0
    while end == 0:  # the header comes first
        if at >= size:
            raise cut_off("it has no pictures and no sound")
        kind, start, after = _element(file, at, size)
        at, end = (start, after) if kind == SEGMENT else (after, 0)
    if end > size:
        raise _missing(size, end)
    cluster = at  # where the cluster ends that is being read; a cluster of unknown size ends where the next one begins
    while at < end:
        kind, start, after = _element(file, at, end)
        if kind in IN_CLUSTER and at < cluster:
            known = after <= cluster
        else:
            known = kind in IN_SEGMENT and (at >= cluster or cluster == end)
        if after > size:
            raise _missing(size, after)
        if not known:
            raise damaged(f"no element begins at byte {at}")
        if kind == CLUSTER:
            cluster = after
        at = start if kind == CLUSTER else after


def _element(file: BinaryIO, at: int, end: int) -> tuple[int, int, int]:
    """Read the head of a Matroska element: its identifier, where its content starts, and where it ends.

    Args:
        file: the open file.
        at: where the element begins.
        end: where it ends if its size is unknown, as in a recording that was not finished.
    """
    file.seek(at)
    head = file.read(12).ljust(12, b"\xff")  # beyond the end of the file the longest size is read, and is too long
    if not head[0]:
        raise damaged(f"no element begins at byte {at}")
    long = 9 - head[0].bit_length()  # of the identifier, in bytes
    wide = 9 - head[long].bit_length()  # of the size, in bytes
    if wide > 8:
        raise damaged(f"no element begins at byte {at}")
    most = (1 << 7 * wide) - 1
    length = int.from_bytes(head[long : long + wide], "big") & most
    start = at + long + wide
    return int.from_bytes(head[:long], "big"), start, end if length == most else start + length


def _ogg(file: BinaryIO, size: int) -> None:
    """Check the pages."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(27)
        if not b"OggS".startswith(head[:4]):
            raise damaged(f"no page begins at byte {at}")
        segments = file.read(head[26]) if len(head) == 27 else b""
        at += 27 + sum(segments)
        if len(head) < 27 or len(segments) < head[26] or at + len(segments) > size:
            raise cut_off("its last page is not complete")
        at += len(segments)


def _mp3(file: BinaryIO, size: int) -> None:
    """Check the number of bytes in the first frame, where encoders write it (Xing, Info), or else the last frame."""
    head = file.read(10)
    at = 0
    if head[:3] == b"ID3":  # its length is written with seven bits in a byte
        at = 10 + sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
    file.seek(at)
    frame = file.read(256).ljust(256)
    tag = max(frame.find(b"Xing", 0, 240), frame.find(b"Info", 0, 240))
    if tag >= 0 and frame[tag + 7] & 2:
        place = tag + 8 + 4 * (frame[tag + 7] & 1)
        end = at + int.from_bytes(frame[place : place + 4], "big")
        if end > size + SLACK:
            raise _missing(size, end)
        return
    while length := _mp3_frame(frame[:4]):
        at += length
        file.seek(at)
        frame = file.read(4)
    if at > size:
        raise cut_off("its last frame is not complete")


def _mp3_frame(head: bytes) -> int:
    """Return the length of the frame of MPEG layer III that a header of four bytes begins; 0 if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, step, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3  # version 3 is MPEG 1, 2 is 2, 0 is 2.5
    if version == 1 or step in {0, 15} or rate == 3:
        return 0
    samples = (44_100, 48_000, 32_000)[rate] >> (2 if version == 0 else 3 - version)
    kbits = (MPEG1_KBITS if version == 3 else MPEG2_KBITS)[step]
    return (144_000 if version == 3 else 72_000) * kbits // samples + (head[2] >> 1 & 1)


CHECKS: dict[str, Callable[[BinaryIO, int], None]] = {
    "mov": _mov,
    "wav": _wav,
    "avi": _avi,
    "matroska": _matroska,
    "ogg": _ogg,
    "mp3": _mp3,
}
