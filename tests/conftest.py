"""Small real inputs: films with sound, written with real codecs, and transforms that cost nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args, get_origin

import av
import numpy as np
import pytest
from hypothesis import settings

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.config.section import Section
from mer_pipeline.media import jpeg
from mer_pipeline.media.container import file_sha256

# A first call may load a library; time is measured in benchmarks/, not here.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

TESTS = Path(__file__).resolve().parent
REAL = TESTS.parent.parent / "shared" / "real"


# Half a minute and more, the longest first, so that of two processes none is left with one of them at the end.
LONGEST = [
    "test_pipeline.py", "history/test_real.py", "test_sharing.py", "enrich/test_asking.py", "history/test_cheap.py",
    "training/test_search.py", "test_extending.py", "fuzz/test_fuzz.py", "external/test_through_dvc.py",
    "training/test_pseudo.py", "training/test_targets.py", "labels/test_dependence.py",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those with slow tests."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    place = {TESTS / name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (place.get(item.path, len(place)), -slow[item.path]))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Two cores are all there is, and the value path has one thread anyway."""
    import torch

    torch.set_num_threads(1)
    return


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small checkpoint of every kind, by the kind's name."""
    from mer_pipeline.models.tiny import KINDS, make_tiny

    folder = tmp_path_factory.mktemp("tiny")
    for kind in KINDS:
        make_tiny(kind, folder / kind)
    return folder


def tables_of(params: type[Section]) -> tuple[str, ...]:
    """The tables that a component may read by its params; none where it reads what a person brought."""
    kind = params.model_fields["input"].annotation
    return get_args(kind) if get_origin(kind) is Literal else ()


@pytest.fixture
def real() -> Path:
    """Third-party clips that are not part of the project."""
    if not REAL.is_dir():
        pytest.skip("the third-party clips are not on this machine")
    return REAL


def film(
    path: Path,
    *,
    frames: int = 20,
    rate: int = 10,
    size: tuple[int, int] = (64, 48),
    times: Sequence[int] | None = None,
    seconds: float | None = None,
    tone: float | None = 220.0,
    loudness: float = 0.3,
    silent_until: float = 0.0,
    key_every: int = 250,
) -> Path:
    """Write an mp4: H.264 pictures whose red level counts the frames, and a sine as AAC.

    Args:
        path: of the file.
        frames: number of pictures; 0 for sound only.
        rate: pictures a second.
        size: width and height.
        times: presentation times in milliseconds, for a variable frame rate.
        seconds: of sound; default: as long as the pictures.
        tone: Hz; None for no sound track.
        loudness: amplitude; 0 for digital silence.
        silent_until: seconds of silence before the tone.
        key_every: frames from one key frame to the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video = audio = None
        if frames:
            video = out.add_stream(
                "libx264", rate=rate, options={"crf": "18", "x264-params": f"threads=1:keyint={key_every}"}
            )
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        if tone is not None:
            audio = out.add_stream("aac", rate=16_000, layout="mono")
        for at in range(frames):
            assert video is not None
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            picture[..., 0] = 10 + at * 200 // max(frames - 1, 1)
            picture[: size[1] // 4, :, 1] = 200  # green along the upper edge: which way is up
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[at] if times else at * 1000 // rate
            frame.time_base = Fraction(1, 1000)
            out.mux(video.encode(frame))
        if video is not None:
            out.mux(video.encode(None))
        if audio is not None:
            count = int(16_000 * (seconds if seconds is not None else frames / rate))
            wave = loudness * np.sin(2 * np.pi * (tone or 0.0) * np.arange(count) / 16_000)
            wave[: int(16_000 * silent_until)] = 0
            sound = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            sound.sample_rate = 16_000
            sound.pts = 0
            out.mux(audio.encode(sound))
            out.mux(audio.encode(None))
    return path


@pytest.fixture
def make_film(tmp_path: Path) -> Callable[..., Path]:
    """`film` below the test's folder."""

    def make(name: str = "clip.mp4", **options: object) -> Path:
        return film(tmp_path / name, **options)  # type: ignore[arg-type]

    return make


def valid(**values: object) -> Row:
    """A stage's row as a transform sees it."""
    return {**values, "valid": True, "reason": None, "digest": ""}


def clip(clip_id: str = "a", **tables: Row | None) -> Clip:
    """A clip with a row of each given table."""
    return Clip(clip_id, "", tables)


def listed(root: Path, video: str | None = None, audio: str | None = None) -> Row:
    """A manifest's row of files below a folder, as ingest would list them."""
    row: dict[str, object] = {"video": video, "audio": audio, "fps": None, "duration": None}
    for kind, name in (("video", video), ("audio", audio)):
        row[f"{kind}_sha256"] = None if name is None else file_sha256(root / name)
    return row


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (60, 80)) -> list[bytes]:
    """JPEGs of noise."""
    rng = np.random.default_rng(seed)
    return [jpeg.encode(rng.integers(0, 255, (*size, 3), dtype=np.uint8), 90) for _ in range(count)]


def face_row(count: int, seed: int = 0) -> Row:
    """A row of the faces table with slightly moving landmarks."""
    rng = np.random.default_rng(seed)
    points = np.array([[30, 40], [60, 40], [45, 60], [33, 75], [58, 75]], np.float32)
    landmarks = [(points + rng.normal(0, 0.5, points.shape)).ravel().tolist() for _ in range(count)]
    return valid(
        crops=pictures(count, seed, (64, 64)),
        times=[0.1 * at for at in range(count)],
        boxes=[[20.0, 20.0, 70.0, 90.0]] * count,
        landmarks=landmarks,
        coverage=1.0,
    )


def sound_row(samples: np.ndarray) -> Row:
    """A row of the audio table from samples in [-1, 1]."""
    return valid(pcm=np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def rows_of(folder: Path) -> list[Mapping[str, object]]:
    """All rows of a stage's folder, by clip."""
    from mer_pipeline.tables.shards import read_folder

    return sorted(read_folder(folder).to_pylist(), key=lambda row: row["clip_id"])
