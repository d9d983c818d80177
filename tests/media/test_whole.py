import random
import struct
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.decode import read_pictures
from mer_pipeline.media.sound import read_sound
from tests.media.make import CONTAINERS, boxes, make, write_wav


def read(path: Path) -> dict[str, float | BadInput]:
    """Number of pictures and seconds of sound, or why there are none; a half that a file does not have is left out."""
    found: dict[str, float | BadInput] = {}
    try:
        found["pictures"] = len(list(read_pictures(path, lambda times, end: np.arange(len(times)))))
    except BadInput as error:
        found["pictures"] = error
    except Skip:
        pass
    try:
        found["sound"] = len(read_sound(path, 60)) / 16_000
    except BadInput as error:
        found["sound"] = error
    except Skip:
        pass
    return found


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_whole_file_is_whole(tmp_path: Path, name: str) -> None:
    """All frames and two seconds of sound, from every container that is taken."""
    found = read(make(tmp_path, name))
    assert found.get("pictures", 40) == 40
    assert found["sound"] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("share", [0.35, 0.51, 0.9])
@pytest.mark.parametrize("name", CONTAINERS)
def test_the_first_part_of_a_file_is_cut_off(tmp_path: Path, name: str, share: float) -> None:
    """Whatever the container, and wherever it was cut: neither its pictures nor its sound are taken for a clip."""
    path = make(tmp_path, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for half in read(path).values():
        assert isinstance(half, BadInput)
        assert "copy" in str(half)
        if name != "a.flac":  # which says nothing about its size: its last frame does not decode
            assert "cut off" in str(half)


@pytest.mark.parametrize("name", ["a.avi", "h264.avi", "a.mkv", "vp8.webm", "vp9.webm", "live.webm", "fragments.mp4"])
def test_a_hole_in_the_structure_is_damage(tmp_path: Path, name: str) -> None:
    """FFmpeg searches for what comes next and leaves out the rest; such a clip lacks frames and is not taken."""
    path = make(tmp_path, name)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + len(data) // 6] = random.Random(0).randbytes(len(data) // 6)
    path.write_bytes(data)
    for half in read(path).values():
        assert isinstance(half, BadInput)
        assert "damaged" in str(half) or "cut off" in str(half)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg"])
def test_sound_that_does_not_decode_is_damage(tmp_path: Path, name: str) -> None:
    """FFmpeg leaves out pages and frames whose checksum is wrong; the header says how much there was."""
    path = make(tmp_path, name)
    data = bytearray(path.read_bytes())
    at = len(data) * 2 // 3
    data[at : at + 2000] = random.Random(0).randbytes(2000)
    path.write_bytes(data)
    assert "damaged: " in str(read(path)["sound"])


def test_what_follows_a_whole_file_does_not_matter(tmp_path: Path) -> None:
    """Tags and rests after the last piece are no cut."""
    for name in ("a.mkv", "a.avi", "a.wav", "a.mp3", "early_header.mp4"):
        path = make(tmp_path, name)
        path.write_bytes(path.read_bytes() + b"TAG" + b" " * 125)
        found = read(path)
        assert found.get("pictures", 40) == 40
        assert found["sound"] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF024])
def test_a_recording_that_does_not_know_its_size_is_whole(tmp_path: Path, size: int) -> None:
    """Recorders that cannot go back leave a size in the header that means nothing."""
    path = write_wav(tmp_path / "a.wav", np.zeros((1, 16_000), np.float32) + 0.1)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"data") + 4, size)
    path.write_bytes(data)
    if size:  # of zero samples FFmpeg reads none
        assert read(path)["sound"] == pytest.approx(1.0, abs=0.01)


def test_a_fragment_that_lost_its_head_is_damage(tmp_path: Path) -> None:
    """FFmpeg would go on with the next one."""
    path = make(tmp_path, "fragments.mp4")
    data = bytearray(path.read_bytes())
    starts = [start for kind, start, _ in boxes(bytes(data)) if kind == b"moof"]
    data[starts[20] + 4 : starts[20] + 8] = b"mo\0f"
    path.write_bytes(data)
    assert all("damaged: no fragment begins" in str(half) for half in read(path).values())
