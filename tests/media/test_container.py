from collections.abc import Callable
from pathlib import Path

import pytest

from mer_pipeline.base.errors import BadInput, Transient
from mer_pipeline.media import container
from mer_pipeline.media.container import check_content, file_sha256, sniff
from mer_pipeline.media.probe import probe
from tests.media.make import make

Make = Callable[..., Path]


def test_probe_reads_the_header(make_film: Make) -> None:
    """Size, rate, length and the presence of sound."""
    info = probe(make_film(frames=20, rate=10, size=(64, 48)))
    assert (info.width, info.height, info.frame_rate, info.has_sound) == (64, 48, 10.0, True)
    assert info.seconds == pytest.approx(2.0, abs=0.11)


def test_sound_alone_has_no_size(make_film: Make) -> None:
    """A sound file is a clip without pictures, as long as its sound."""
    info = probe(make_film(frames=0, seconds=1.0))
    assert (info.width, info.has_sound) == (None, True)
    assert info.seconds == pytest.approx(1.0, abs=0.07)


def test_a_film_whose_streams_do_not_say_how_long_they_are(make_film: Make) -> None:
    """Matroska says it of the file as a whole."""
    info = probe(make_film("a.mkv", frames=20, rate=10))
    assert info.seconds == pytest.approx(2.0, abs=0.11)


def test_the_picture_decides_how_long_a_film_is(make_film: Make) -> None:
    """Not the sound that goes on."""
    assert probe(make_film(frames=20, rate=10, seconds=5.0)).seconds == pytest.approx(2.0, abs=0.11)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xff", "not a known media container"),
        (b"hello, this is text", "not a known media container"),
        (b"\0\0\0\x20ftypisom" + b"x" * 400, "decoded"),
    ],
)
def test_broken_files_are_bad_input(tmp_path: Path, content: bytes, says: str) -> None:
    """Empty, foreign and garbled files are named with what is wrong."""
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=says):
        probe(path)


def test_a_missing_file_may_come_back(tmp_path: Path) -> None:
    """A disk that is not mounted says of every file that it is missing: that is never remembered."""
    with pytest.raises(Transient, match="cannot be read"):
        probe(tmp_path / "gone.mp4")


@pytest.mark.outcome("network", "Everywhere FFmpeg is told to open this one file only")
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{target}'\n",
        "<?xml version='1.0'?><MPD><BaseURL>{target}</BaseURL></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_a_playlist_named_mp4_opens_nothing_else(make_film: Make, tmp_path: Path, playlist: str) -> None:
    """Neither another file nor the network can be reached through a clip."""
    path = tmp_path / "evil.mp4"
    path.write_text(playlist.format(target=make_film("secret.mp4").as_posix()))
    with pytest.raises(BadInput):
        probe(path)


def test_a_name_that_looks_like_an_address_is_a_file(make_film: Make) -> None:
    """Colons and percent signs in a name mean nothing."""
    assert probe(make_film("http:%2f%03d.mp4")).width == 64


@pytest.mark.outcome("length of a file", "3,600 s")
@pytest.mark.outcome("streams", "16")
@pytest.mark.outcome("pixels of a frame, coded or shown", "8192 × 8192")
def test_limits(make_film: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Length, size and streams of a clip are bounded before it is decoded."""
    path = make_film(frames=20)
    monkeypatch.setattr(container, "MAX_SECONDS", 1.0)
    with pytest.raises(BadInput, match="longer than 1 s"):
        probe(path)
    monkeypatch.setattr(container, "MAX_SECONDS", 60.0)
    monkeypatch.setattr(container, "MAX_PIXELS", 100)
    assert "larger than 100 pixels" in str(probe(path).problem)
    with pytest.raises(BadInput, match="larger than 100 pixels"):
        probe(make_film("silent.mp4", tone=None))
    monkeypatch.setattr(container, "MAX_STREAMS", 1)
    with pytest.raises(BadInput, match="2 streams, more than 1"):
        probe(path)


@pytest.mark.outcome(
    "FFmpeg gives an error of the disk or the memory",
    "the file is read once more and memory is asked for; where both are there, the file is "
    "broken, and it is remembered as such; otherwise the failure may pass",
)
def test_a_file_that_asks_for_absurd_memory_is_broken_and_not_unlucky(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg says the same of it as of a machine without memory, but the file is the same next time. Where the machine
    gives no memory indeed, it may pass."""
    path = make(tmp_path, "early_header.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"avc1", data.index(b"stsd"))
    data[at - 4 : at] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(BadInput, match="decoded: Cannot allocate memory"):
        probe(path)
    monkeypatch.setattr(container, "ENOUGH_MEMORY", 1 << 60)
    with pytest.raises(Transient, match="read: Cannot allocate memory"):
        probe(path)


@pytest.mark.outcome(
    "FFmpeg gives an error of the disk or the memory", "the file is read once more and memory is asked for"
)
def test_what_the_disk_or_the_machine_lacks_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone meanwhile, and a machine that gives no memory."""
    path = make(tmp_path, "a.wav")
    assert container._can_be_read(path)
    assert not container._can_be_read(tmp_path / "gone.wav")
    monkeypatch.setattr(container, "ENOUGH_MEMORY", 1 << 60)
    assert not container._can_be_read(path)


@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_one_half_that_cannot_be_decoded_costs_that_half(make_film: Make, kind: str) -> None:
    """The other half is listed, with what is wrong."""
    path = make_film(frames=5)
    names = {b"avc1": b"zzz1"} if kind == "picture" else {b"mp4a": b"zzz1", b"\x40\x15": b"\xfe\x15"}
    for name, other in names.items():
        path.write_bytes(path.read_bytes().replace(name, other))
    info = probe(path)
    assert (info.width is None, info.has_sound) == (kind == "picture", kind == "picture")
    assert info.problem == f"the file's {kind} is of a kind that FFmpeg cannot decode; convert it, for instance to mp4"
    assert info.seconds == pytest.approx(0.5, abs=0.1)


def test_sniff_knows_the_containers_by_their_bytes() -> None:
    """The first bytes decide, not the name."""
    assert sniff(b"RIFF\0\0\0\0AVI LIST") == "avi"
    assert sniff(b"RIFF\0\0\0\0WAVEfmt ") == "wav"
    assert sniff(b"\x1aE\xdf\xa3" + b"\0" * 12) == "matroska"
    assert sniff(b"fLaC" + b"\0" * 12) == "flac"
    assert sniff(b"RIFF\0\0\0\0XXXX") is None


def test_a_file_that_is_not_the_listed_one_is_never_remembered(tmp_path: Path) -> None:
    """Altered, gone and unread files are Transient: what becomes of them must not be kept under the listed content."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    listed = file_sha256(path)
    check_content(path, listed)
    with pytest.raises(Transient, match="could not be read when it was listed"):
        check_content(path, None)
    path.write_bytes(b"two")
    with pytest.raises(Transient, match="altered after it was listed"):
        check_content(path, listed)
    path.unlink()
    with pytest.raises(Transient, match="missing"):
        check_content(path, listed)
