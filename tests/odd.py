"""A folder of odd clips, one for each line of docs/outcomes.md that is about a file, and what the stages make of it."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.config.params import Params, parse_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import Step
from mer_pipeline.datasets.ingest import IngestParams, ingest
from mer_pipeline.stage.rows import run_step
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import write_no_rows
from mer_pipeline.tables.transcript import write_transcript
from mer_pipeline.text.transcribe import Transcribe
from tests.conftest import film, rows_of
from tests.media.make import boxes, make, picture, replace, tone, write, write_wav

PARAMS: Mapping[str, object] = {
    "dataset": {"adapter": "folder", "root": "clips", "csv": "clips.csv", "classes": ["happy", "sad"]},
    "folds": {"n": 2},
    "frames": {"mode": "all", "n": 100},
    "audio": {"max_seconds": 6.0},
    "encoders": {"scene": {"family": "appearance", "input": "frames"}},
    "shards": {"count": 1},
    "quality": {"max_failed": 1.0},
}
LONG = 8.0  # seconds; more than audio.max_seconds
BARE = {"id3v2_version": "0", "write_xing": "0"}
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n"


def cut(path: Path, share: float) -> None:
    """Leave the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def cut_between(path: Path, mark: bytes, before: int = 0) -> None:
    """Cut a file off in the middle, where a piece of it begins: so many bytes before a mark."""
    data = path.read_bytes()
    path.write_bytes(data[: data.index(mark, len(data) // 2) - before])


def spoil(path: Path, at: int, count: int) -> None:
    """Write noise over a part of a file."""
    data = bytearray(path.read_bytes())
    data[at : at + count] = random.Random(0).randbytes(count)
    path.write_bytes(data)


def begin_late(path: Path, lost: int, *, frames: int = 40, fps: int = 20) -> None:
    """Write a film that begins so many frames before its first key frame.

    Args:
        path: of the film.
        lost: how many frames cannot be decoded.
        frames: how many the file has.
        fps: frames per second.
    """
    options = {"g": str(lost + 1), "keyint_min": str(lost + 1), "bf": "0", "sc_threshold": "0"}
    whole = write(path.with_suffix(".whole.mkv"), "libx264", None, frames=frames + 1, fps=fps, encoder=options)
    with av.open(str(whole)) as source, av.open(str(path), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in [p for p in source.demux(source.streams.video[0]) if p.size][1:]:
            packet.stream = stream
            sink.mux(packet)
    whole.unlink()


def two_sizes(path: Path) -> None:
    """Write a film whose pictures become smaller midway, as in a recorded call."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for part, size in enumerate([(160, 120), (96, 72)]):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
            encoder.time_base = Fraction(1, 20)
            for at in range(10):
                frame = av.VideoFrame.from_ndarray(picture(at, size), format="rgb24")
                frame.pts, frame.time_base = part * 10 + at, Fraction(1, 20)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    out.mux(packet)
            for packet in encoder.encode(None):
                packet.stream = stream
                out.mux(packet)


def two_sounds(path: Path) -> None:
    """Write a sound of two seconds in stereo at 48 kHz, and two in mono at 32 kHz."""
    parts = [
        write(path.with_name("part.mp3"), None, "libmp3lame", muxer=BARE, **of).read_bytes()  # type: ignore[arg-type]
        for of in ({}, {"layout": "mono", "rate": 32_000})
    ]
    path.with_name("part.mp3").unlink()
    path.write_bytes(b"".join(parts))


def rename(path: Path, **names: bytes) -> None:
    """Give a codec of a film another name, which nobody knows: avc1=..., mp4a=...."""
    data = path.read_bytes()
    for name, other in names.items():
        data = data.replace(name.encode(), other)
    path.write_bytes(data.replace(b"\x40\x15", b"\xfe\x15") if "mp4a" in names else data)


def matrix(*numbers: int) -> list[int]:
    """A display matrix, by the four numbers that turn and mirror."""
    a, b, c, d = (65536 * number for number in numbers)
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


def promise(path: Path) -> None:
    """Write an mp4 whose edit list shows all of it 9,900 times."""
    row = struct.pack(">IiI", 2000, 0, 0x10000)
    data = make(path.parent, "late_header.mp4").read_bytes()
    (path.parent / "late_header.mp4").unlink()
    path.write_bytes(replace(data, b"elst", bytes(4) + struct.pack(">I", 9_900) + row * 9_900))


def write_odd_clips(folder: Path) -> None:
    """Write all odd clips: films of 40 numbered pictures at 20 per second with a tone of 2 s, but for what is odd."""
    folder.mkdir()

    def made(name: str, container: str) -> Path:
        return make(folder, container).rename(folder / name)

    made("whole.mp4", "early_header.mp4")
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("hello, this is text")
    (folder / "playlist.mp4").write_text(PLAYLIST)
    for name, container in (("cut_mp4.mp4", "early_header.mp4"), ("cut_mkv.mkv", "a.mkv"), ("cut_wav.wav", "a.wav")):
        cut(made(name, container), 0.6)
    fragments = made("cut_fragments.mp4", "fragments.mp4")
    data = fragments.read_bytes()
    starts = [start for kind, start, _ in boxes(data) if kind == b"moof"]
    fragments.write_bytes(data[: starts[len(starts) // 2]])
    cut_between(made("cut_live.webm", "live.webm"), b"\x1f\x43\xb6\x75")
    cut_between(made("cut_bare.mp3", "bare.mp3"), made("x.mp3", "bare.mp3").read_bytes()[:3])
    (folder / "x.mp3").unlink()
    hole = made("hole.mkv", "a.mkv")
    data = hole.read_bytes()
    hole.write_bytes(data[: len(data) // 2] + bytes(len(data) // 6) + data[len(data) // 2 + len(data) // 6 :])
    for name, codec in (("hole_flac.flac", "a.flac"), ("hole_ogg.ogg", "a.ogg")):
        spoiled = made(name, codec)
        spoil(spoiled, spoiled.stat().st_size * 2 // 3, 2000)
    for name, inside in (("no_jpeg", 4), ("rot", 700)):
        noise = write(folder / f"{name}.mkv", "mjpeg", None, encoder={"strict": "unofficial"})
        spoil(noise, noise.read_bytes().index(b"\xff\xd8\xff", noise.stat().st_size // 2) + inside, 60)
    begin_late(folder / "lead_short.mkv", 7)
    begin_late(folder / "lead_long.mkv", 13)
    begin_late(folder / "lost_4.mkv", 4, frames=100, fps=5)
    begin_late(folder / "lost_5.mkv", 5, frames=100, fps=5)
    promise(folder / "promise.mp4")
    film(folder / "mute.mp4", tone=None)
    film(folder / "silent.mp4", loudness=0.0)
    for name, numbers in (("turned", (0, 1, -1, 0)), ("mirrored", (-1, 0, 0, 1)), ("no_matrix", (0, 0, 0, -1))):
        write(folder / f"{name}.mp4", "libx264", None, frames=4, matrix=matrix(*numbers))
    write(folder / "wide_pixels.mp4", "libx264", None, frames=4, aspect=Fraction(16, 11))
    film(folder / "uneven.mp4", frames=6, times=[0, 40, 80, 500, 540, 1500])
    write(folder / "b_frames.avi", "mpeg4", None, encoder={"bf": "2", "g": "12"})
    decoding = write(folder / "decoding_times.mp4", "libx264", None, encoder={"bf": "3"})
    decoding.write_bytes(decoding.read_bytes().replace(b"ctts", b"free").replace(b"elst", b"free"))
    write(folder / "late_clock.mkv", "libx264", "aac", start=3605.5)
    film(folder / "one_frame.mp4", frames=1, seconds=1.0)
    rename(film(folder / "no_picture_codec.mp4", frames=5), avc1=b"zzz1")
    rename(film(folder / "no_sound_codec.mp4", frames=5), mp4a=b"zzz1")
    two_sizes(folder / "two_sizes.mkv")
    two_sounds(folder / "two_sounds.mp3")
    write(folder / "late_sound.mp4", "libx264", "aac", sound_start=0.7)
    write(folder / "hole_in_sound.mkv", "libx264", "libopus", hole=(0.5, 1.2))
    wave = tone(1.0, 16_000)
    write_wav(folder / "opposite.wav", np.stack([wave, -wave]))
    write_wav(folder / "long.wav", tone(LONG, 16_000)[None])
    (folder / "film.flv").write_bytes(b"FLV")
    film(folder / "wrong_rate.mp4", frames=15, rate=5)
    film(folder / "right_rate.mp4", frames=15, rate=5)


@dataclass(frozen=True)
class Outcomes:
    """What became of the clips.

    Attributes:
        said: what the stages printed.
        rows: by step (or "manifest", "subtitles" or "transcript") and clip.
        problems: class and message by quarantine and clip.
    """

    said: str
    rows: Mapping[str, Mapping[str, Row]]
    problems: Mapping[str, Mapping[str, list[tuple[str, str]]]]

    def of(self, stage: str, clip: str) -> str | None:
        """The outcome of a clip in `ingest` or a step: "done", "skipped: REASON", "CLASS: MESSAGE"; None for none."""
        broken = [
            f"{error}: {message}" for error, message in self.problems.get(stage, {}).get(clip, []) if error != "Copies"
        ]
        row = self.rows.get(stage, {}).get(clip)
        if broken or row is None:
            assert row is None
            assert len(broken) <= 1
            return broken[0] if broken else None
        return "done" if row["valid"] else f"skipped: {row['reason']}"


def run_stages(csv: str, made: Callable[[Params], list[Step]], **changes: Mapping[str, object]) -> Outcomes:
    """Run `ingest` and further steps on the folder `clips` of the current folder."""
    Path("clips.csv").write_text(csv, encoding="utf-8")
    params = parse_params({**PARAMS, **{name: {**PARAMS.get(name, {}), **new} for name, new in changes.items()}})  # type: ignore[dict-item]
    project = Project()
    read = IngestParams(params.dataset, params.folds, params.shards, params.quality)
    said = [ingest(read, project, Runtime(workers=2))]
    subtitles, heard, transcript = (project.table(name) for name in ("subtitles", "heard", "transcript"))
    write_no_rows(heard, stage_schema(Transcribe.schema), params.shards)
    write_transcript(subtitles, heard, transcript, params.shards)
    chosen = made(params)
    said += [run_step(step, project, params.shards, params.quality) for step in chosen]
    problems: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for path in sorted(project.quarantine("ingest").parent.glob("*.parquet")):
        by_clip = problems.setdefault(path.stem, {})
        for row in pq.read_table(path).to_pylist():
            by_clip.setdefault(row["clip_id"], []).append((row["error"], row["message"]))
    tables = {"subtitles": "subtitles", "transcript": "transcript", **{step.name: step.table for step in chosen}}
    rows = {name: {str(row["clip_id"]): row for row in rows_of(project.table(table))} for name, table in tables.items()}
    rows["manifest"] = {row["clip_id"]: row for row in pq.read_table(project.manifest).to_pylist()}
    return Outcomes("\n".join(said), rows, problems)


def show(path: Path, pictures: Sequence[npt.NDArray[np.uint8]], wave: npt.NDArray[np.float32] | None = None) -> None:
    """Write a film of these pictures at 10 per second.

    Args:
        path: of the film.
        pictures: (height, width, 3) uint8 each.
        wave: (samples,) float32 at 16 kHz; None for no sound track.
    """
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"crf": "18", "x264-params": "threads=1"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = None if wave is None else out.add_stream("aac", rate=16_000, layout="mono")
        for one in pictures:
            out.mux(video.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        out.mux(video.encode(None))
        if audio is not None and wave is not None:
            sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16_000, 0
            out.mux(audio.encode(sound))
            out.mux(audio.encode(None))
