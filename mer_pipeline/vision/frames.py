"""The stage `frames`: choose frames of a video and store them as JPEG.

Each clip is decoded once, for all encoders of pictures. The section `frames` of params.yaml has three modes. `uniform`
takes the frame that is shown at the centre of each of n equal spans of time. `fps` takes the frame that is shown every
1/fps seconds. `all` takes every frame. `fps` and `all` keep at most `max_frames`, spread evenly over the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Count, Section
from mer_pipeline.media import jpeg
from mer_pipeline.media.container import listed_content
from mer_pipeline.media.decode import read_pictures

MAX_MOMENTS = 1_000_000


class FrameParams(Section):
    """Which frames of a clip are kept, and in what size."""

    mode: Literal["uniform", "fps", "all"] = "uniform"  # how frames are chosen: see n, fps and max_frames
    n: Count = 8  # for mode uniform: number of frames, at the centres of n equal spans of time
    fps: Annotated[float, Field(gt=0, le=1000)] = 2.0  # for mode fps: number of frames per second
    max_frames: Count = 64  # for modes fps and all: the most frames of a clip
    max_side: Annotated[int, Field(ge=16)] = 640  # pixels of the longer side; smaller pictures stay as they are
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90  # of the stored frames, with 4:2:0 chroma subsampling


@dataclass(frozen=True)
class Frames:
    """A clip's row of the table `frames`.

    Attributes:
        jpegs: the frames as JPEG bytes.
        times: their presentation times in seconds.
    """

    jpegs: Sequence[bytes]
    times: Sequence[float]

    @classmethod
    def of(cls, row: Row) -> Frames:
        """Read the columns of a row."""
        return cls(row["jpegs"], row["times"])  # type: ignore[arg-type]  # typed by SampleFrames.schema


def sample_indices(params: FrameParams, times: npt.NDArray[np.float64], end: float) -> npt.NDArray[np.int64]:
    """Choose the frames that are kept.

    Args:
        params: the mode and its numbers.
        times: (frames,) float64, presentation times in seconds, ascending.
        end: the time at which the last frame ends, in seconds.

    Returns:
        (kept,) int64, the indices of these frames, ascending and distinct.

    Example:
        >>> times = np.arange(100) / 25  # four seconds at 25 frames per second
        >>> sample_indices(FrameParams(mode="uniform", n=4), times, end=4.0).tolist()
        [12, 37, 62, 87]
        >>> sample_indices(FrameParams(mode="fps", fps=1), times, end=4.0).tolist()
        [0, 25, 50, 75]
    """
    start = float(times[0])
    if params.mode == "all":
        return _spread(np.arange(len(times)), params.max_frames)
    if params.mode == "fps":
        # The number of moments is limited: a wrong duration in the dataset's table must not fill the memory.
        count = int(np.clip(np.ceil((end - start) * params.fps), 1, MAX_MOMENTS))
        return _spread(_shown_at(times, start + np.arange(count) / params.fps), params.max_frames)
    return _shown_at(times, start + (np.arange(params.n) + 0.5) * (end - start) / params.n)


def _shown_at(times: npt.NDArray[np.float64], moments: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    # A frame is shown from its time until the time of the next one. The small step allows for rounding errors.
    return np.unique(np.clip(np.searchsorted(times, moments + 1e-6, side="right") - 1, 0, len(times) - 1))


def _spread(indices: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    if len(indices) <= limit:
        return indices
    return indices[((np.arange(limit) + 0.5) * len(indices) / limit).astype(np.int64)]


class SampleFrames(Transform[Row]):
    """The transform from a video to JPEG frames with their presentation times. `prepare` does all the work."""

    name = "frames"
    decodes = True
    sources = (Source("manifest", ("video_sha256", "fps", "duration"), locators=("video",)),)
    schema = pa.schema(
        [
            pa.field("jpegs", pa.list_(pa.binary())),
            pa.field("times", pa.list_(pa.float64())),  # seconds from the clip's start
            pa.field("width", pa.int32()),  # pixels of the stored pictures
            pa.field("height", pa.int32()),
        ]
    )

    def __init__(self, params: FrameParams, root: Path) -> None:
        self.params: FrameParams = params
        self.root = root

    def media(self, clip: Clip) -> Sequence[Path]:
        """The video."""
        video = clip.need("manifest")["video"]
        return [] if video is None else [self.root / str(video)]

    def prepare(self, clip: Clip) -> Row:
        """Decode the chosen frames, scale them down where they are too large, and encode them as JPEG."""
        row = clip.need("manifest")
        if row["video"] is None:
            raise Skip("no picture: the dataset has no video of this clip")
        path = self.root / str(row["video"])
        fps, duration = row["fps"], row["duration"]
        assert isinstance(fps, float | None)
        assert isinstance(duration, float | None)
        jpegs, times, shape = [], [], (0, 0, 3)
        pictures = read_pictures(
            path,
            lambda stamps, end: sample_indices(self.params, stamps, end),
            fps=fps,
            duration=duration,
        )
        with listed_content(path, row["video_sha256"]):
            for picture in pictures:
                small = jpeg.shrink(picture.rgb, self.params.max_side)
                shape = small.shape
                jpegs.append(jpeg.encode(small, self.params.jpeg_quality))
                times.append(picture.time)
        return {"jpegs": jpegs, "times": times, "width": shape[1], "height": shape[0]}

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)
