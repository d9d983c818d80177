"""Mutations of media files: some know the structure of a container, and some know nothing.

mp4 and mov are trees of boxes, mkv and webm of elements, avi and wav of chunks. `nodes` reads all three as one tree, so
that a mutation of the tree keeps the sizes of all that is around it right: a reader goes on and meets what was changed.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
SHORTEST = 16  # bytes that can still be mutated
BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"udta", b"dinf"}
# Boxes whose payload is a count and a table: version and flags, then the count.
TABLES = {b"elst", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"co64", b"stss", b"sdtp", b"trun", b"sbgp", b"sgpd"}
# Segment, Info, Tracks, TrackEntry, Video, Audio, Cluster, BlockGroup, Cues, CuePoint, CueTrackPositions, SeekHead and
# Seek.
ELEMENTS = {0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7, 0x114D9B74,
            0x4DBB}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A part of a file.

    Attributes:
        start: where its header begins.
        payload: where its payload begins.
        end: where it ends.
        size_at, size_bytes: where its size stands, and in how many bytes.
        kind: its name.
        above: the nodes that it is in, from the outermost.
    """

    start: int
    payload: int
    end: int
    size_at: int
    size_bytes: int
    kind: object
    above: tuple[Node, ...] = ()


def nodes(data: bytes) -> list[Node]:
    """All nodes of a file, each before those in it; none where the container is no tree."""
    if data[4:8] == b"ftyp":
        return list(_boxes(data, 0, len(data), ()))
    if data[:4] == b"\x1aE\xdf\xa3":
        return list(_elements(data, 0, len(data), ()))
    if data[:4] == b"RIFF":
        return list(_chunks(data, 0, len(data), ()))
    return []


def _boxes(data: bytes, at: int, end: int, above: tuple[Node, ...]) -> Iterator[Node]:
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8 or at + size > end:
            return
        node = Node(at, at + 8, at + size, at, 4, kind, above)
        yield node
        if kind in BOXES:
            yield from _boxes(data, node.payload, node.end, (*above, node))
        at += size


def _elements(data: bytes, at: int, end: int, above: tuple[Node, ...]) -> Iterator[Node]:
    while at + 2 <= end and data[at]:
        name = 9 - data[at].bit_length()
        size_at = at + name
        if size_at >= end or not data[size_at]:
            return
        count = 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at : size_at + count]) & ((1 << 7 * count) - 1)
        payload = size_at + count
        node = Node(at, payload, min(payload + size, end), size_at, count, int.from_bytes(data[at:size_at]), above)
        yield node
        if node.kind in ELEMENTS:
            yield from _elements(data, payload, node.end, (*above, node))
        at = node.end


def _chunks(data: bytes, at: int, end: int, above: tuple[Node, ...]) -> Iterator[Node]:
    while at + 8 <= end:
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        is_list = kind in {b"RIFF", b"LIST"}
        node = Node(at, at + (12 if is_list else 8), min(at + 8 + size, end), at + 4, 4, kind, above)
        yield node
        if is_list:
            yield from _chunks(data, node.payload, node.end, (*above, node))
        at = node.end + size % 2


def replaced(data: bytes, node: Node, new: bytes) -> bytes:
    """A file in which a node is something else; the sizes of all around it are right again."""
    delta, out = len(new) - (node.end - node.start), bytearray(data)
    for outer in node.above:
        at, count = outer.size_at, outer.size_bytes
        if outer.kind in {b"RIFF", b"LIST"}:
            size = int.from_bytes(out[at : at + 4], "little") + delta
            out[at : at + 4] = (size & 0xFFFFFFFF).to_bytes(4, "little")
        elif isinstance(outer.kind, int):
            mask = (1 << 7 * count) - 1
            size = (int.from_bytes(out[at : at + count]) & mask) + delta
            out[at : at + count] = ((1 << 7 * count) | (size & mask)).to_bytes(count)
        else:
            size = int.from_bytes(out[at : at + 4]) + delta
            out[at : at + 4] = (size & 0xFFFFFFFF).to_bytes(4)
    out[node.start : node.end] = new
    return bytes(out)


def _number(deal: random.Random, size: int) -> bytes:
    """A number of so many bytes: an extreme one, or any."""
    value = deal.choice(EXTREMES) if deal.random() < 0.7 else deal.getrandbits(8 * size)
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, deal.choice(("big", "little")))


def _a_field(data: bytes, deal: random.Random) -> bytes:
    """A number in the payload of a small node."""
    small = [node for node in nodes(data) if 0 < node.end - node.payload < 4000 and node.kind not in BOXES | ELEMENTS]
    if not small:
        return _a_word(data, deal)
    node, out = deal.choice(small), bytearray(data)
    for _ in range(deal.choice((1, 1, 2, 4))):
        size = min(deal.choice((1, 2, 4, 4, 4, 8)), node.end - node.payload)
        steps = (min(node.end, node.payload + 120) - node.payload - size) // size
        at = node.payload + size * deal.randint(0, max(0, steps))
        out[at : at + size] = _number(deal, size)
    return bytes(out)


def _a_table(data: bytes, deal: random.Random) -> bytes:
    """A table of an mp4 file with another count, other entries, or more of them than there are samples."""
    tables = [node for node in nodes(data) if node.kind in TABLES]
    if not tables:
        return _a_field(data, deal)
    node = deal.choice(tables)
    body = bytearray(data[node.payload : node.end])
    way = deal.randrange(4)
    if way == 0:
        body[4:8] = _number(deal, 4)
    elif way == 1:
        for at in range(8, len(body) - 3, 4):
            if deal.random() < 0.3:
                body[at : at + 4] = _number(deal, 4)
    else:
        count = deal.choice((2, 10, 300, 5000))
        entry = {b"elst": 12, b"stts": 8, b"ctts": 8, b"stsc": 12}.get(node.kind, 4)  # type: ignore[call-overload]
        body[4:] = count.to_bytes(4)
        for _ in range(count):
            row = deal.randbytes(entry) if way == 2 else b"".join(_number(deal, 4) for _ in range(entry // 4))
            body += row
    head = (len(body) + 8).to_bytes(4) + bytes(data[node.start + 4 : node.start + 8])
    return replaced(data, node, head + bytes(body))


def _an_edit_list(data: bytes, deal: random.Random) -> bytes:
    """An edit list of many entries, with times in the track and without, in place of the one there is."""
    lists = [node for node in nodes(data) if node.kind == b"elst"]
    if not lists:
        return _a_table(data, deal)
    count = deal.choice((1, 2, 3, 50, 2000, 20_000))
    rows = b"".join(
        struct.pack(
            ">IiI",
            deal.choice((0, 1, 10, 1000, 0x7FFFFFFF, deal.getrandbits(32))),
            deal.choice((-1, 0, 512, 1024, 5000, deal.getrandbits(31))),
            deal.choice((0x10000, 0x10000, 0, 0x20000, deal.getrandbits(32))),
        )
        for _ in range(count)
    )
    body = b"\0\0\0\0" + deal.choice((count, count, 0xFFFFFFF)).to_bytes(4) + rows
    return replaced(data, deal.choice(lists), (len(body) + 8).to_bytes(4) + b"elst" + body)


def _a_node(data: bytes, deal: random.Random) -> bytes:
    """A node that is gone, there twice, or in another's place."""
    found = nodes(data)
    if not found:
        return _a_piece(data, deal)
    node, other = deal.choice(found), deal.choice(found)
    own = data[node.start : node.end]
    if len(own) > 200_000:
        return _a_word(data, deal)
    new = deal.choice(
        (b"", own * 2, own * deal.choice((3, 40)) if len(own) < 2000 else own, data[other.start : other.end])
    )
    return replaced(data, node, new)


def _a_size(data: bytes, deal: random.Random) -> bytes:
    """A size that is wrong."""
    found, out = nodes(data), bytearray(data)
    if not found:
        return _a_word(data, deal)
    node = deal.choice(found)
    out[node.size_at : node.size_at + node.size_bytes] = _number(deal, node.size_bytes)
    return bytes(out)


def _some_bytes(data: bytes, deal: random.Random) -> bytes:
    """Bits of rot anywhere, or only near the beginning or the end, where headers are."""
    out, where = bytearray(data), deal.randrange(3)
    span = {0: (0, len(out)), 1: (0, min(1500, len(out))), 2: (max(0, len(out) - 1500), len(out))}[where]
    for _ in range(deal.choice((1, 2, 5, 20, 100))):
        out[deal.randrange(*span)] = deal.getrandbits(8)
    return bytes(out)


def _a_word(data: bytes, deal: random.Random) -> bytes:
    """Extreme numbers anywhere."""
    out = bytearray(data)
    for _ in range(deal.choice((1, 2, 5))):
        size = deal.choice((1, 2, 4, 8))
        at = deal.randrange(max(1, len(out) - size))
        out[at : at + size] = _number(deal, size)
    return bytes(out)


def _a_piece(data: bytes, deal: random.Random) -> bytes:
    """A piece that is cut out, there twice, or noise."""
    at = deal.randrange(len(data))
    end = min(len(data), at + deal.choice((1, 16, 300, 4000)))
    piece = data[at:end]
    return data[:at] + deal.choice((b"", piece * 2, deal.randbytes(len(piece)), piece * 30)) + data[end:]


def _an_end(data: bytes, deal: random.Random) -> bytes:
    """The file is cut off."""
    return data[: deal.randrange(1, len(data))]


MUTATIONS: dict[str, tuple[Callable[[bytes, random.Random], bytes], int]] = {
    "a field": (_a_field, 5),
    "a table": (_a_table, 4),
    "an edit list": (_an_edit_list, 3),
    "a node": (_a_node, 3),
    "a size": (_a_size, 2),
    "some bytes": (_some_bytes, 4),
    "a word": (_a_word, 2),
    "a piece": (_a_piece, 2),
    "an end": (_an_end, 1),
}


def mutant(data: bytes, deal: random.Random) -> tuple[bytes, str]:
    """A file with one to three mutations, and the name of the first."""
    names = deal.choices(list(MUTATIONS), [weight for _, weight in MUTATIONS.values()], k=deal.choice((1, 1, 1, 2, 3)))
    for name in names:
        if len(data) >= SHORTEST:
            data = MUTATIONS[name][0](data, deal) or data  # an empty file is not worth a try
    return data, names[0]
