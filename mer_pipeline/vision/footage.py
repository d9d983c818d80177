"""Decode a clip once for all that is said about its faces, and keep what is needed within a stated memory.

    every picture              a thumb of 16 × 12 pixels, to find cuts
    12 to 15 a second          a grey copy of at most 640 pixels, to see mouths move       at most 92 MB
    the times of data/frames   the picture itself, to crop faces from                      at most 96 MB
    these and times between    a copy of `faces.detect_side`, to find faces in             at most 128 copies

Where the clip has no video that can be decoded to the end, the stored frames stand in: mouths are not seen to move
then, and crops come from the stored size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.errors import BadInput
from mer_pipeline.media import jpeg
from mer_pipeline.media.decode import Picture as Decoded
from mer_pipeline.vision.align import Picture
from mer_pipeline.vision.detector import Floats
from mer_pipeline.vision.frames import Frames
from mer_pipeline.vision.shots import Grey, find_cuts, small_grey, thumb

GREY_SIDE = 640  # pixels of the longer side of the grey copies
GREY_STEP = 0.08  # seconds between grey copies, about: a syllable has three
MAX_GREYS = 400  # 32 s; of a longer clip, WINDOWS pieces of equal length are seen
WINDOWS = 16
SEARCH_STEP = 0.4  # seconds: no more time passes between two pictures in which faces are searched
MAX_BETWEEN = 64  # pictures between the frames that are searched as well; a long clip is searched less often
MAX_SIDE = 1920  # pixels of the longer side of a picture that faces are cropped from
MAX_BYTES = 96 * 2**20  # of all of these together; where they would take more, all are scaled down alike

Times = npt.NDArray[np.float64]


@dataclass
class Footage:
    """What is kept of a clip's pictures.

    Attributes:
        cuts: times of the first pictures of all shots but the first, in seconds.
        searched: the copies in which faces are searched, in the order of time.
        times: their times in seconds.
        frame_of: for each of them the index of the clip's frame that it is, or -1.
        pictures: for each of the clip's frames, the picture that faces are cropped from.
        sizes: for each of the clip's frames, width and height of the stored picture.
        greys, grey_times: grey copies, and their times in seconds.
    """

    cuts: list[float] = field(default_factory=list)
    searched: list[Picture] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    frame_of: list[int] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    greys: list[Grey] = field(default_factory=list)
    grey_times: list[float] = field(default_factory=list)


def from_video(decoded: Iterator[Decoded], known: Sequence[Times], frames: Frames, detect_side: int) -> Footage:
    """Keep what is needed of a video.

    Args:
        decoded: all pictures of the clip.
        known: gets their times in seconds as its only entry, before the first picture comes.
        frames: the clip's stored frames.
        detect_side: pixels of the longer side of the copies in which faces are searched.

    Raises:
        BadInput: as `read_pictures`; or if a stored frame's picture did not decode.
    """
    kept = Footage(sizes=[jpeg.size(data) for data in frames.jpegs])
    thumbs: list[Floats] = []
    shown: list[float] = []
    side = MAX_SIDE
    for picture in decoded:
        if not shown:
            stamps = known[0]
            ats = _nearest(stamps, np.asarray(frames.times))
            between, greys = _between(stamps, ats), _grey_indices(stamps)
        at = int(np.searchsorted(stamps, picture.time - 1e-6))
        thumbs.append(thumb(picture.rgb))
        shown.append(picture.time)
        if at in greys:
            kept.greys.append(small_grey(picture.rgb, GREY_SIDE))
            kept.grey_times.append(picture.time)
        if at in ats or at in between:
            kept.searched.append(jpeg.shrink(picture.rgb, detect_side))
            kept.times.append(picture.time)
            kept.frame_of.append(ats.index(at) if at in ats else -1)
        if at in ats:
            side = min(side, _side(picture.rgb, len(ats)))
            kept.pictures.append(jpeg.shrink(picture.rgb, side))
    if len(kept.pictures) < len(frames.times):
        raise BadInput("a stored frame's picture does not decode")
    kept.cuts = [shown[at] for at in find_cuts(thumbs)]
    return kept


def from_frames(frames: Frames, detect_side: int) -> Footage:
    """Take the stored frames where there is no video. Cuts are sought between the frames."""
    pictures = [jpeg.decode(data) for data in frames.jpegs]
    return Footage(
        cuts=[frames.times[at] for at in find_cuts([thumb(picture) for picture in pictures])],
        searched=[jpeg.shrink(picture, detect_side) for picture in pictures],
        times=list(frames.times),
        frame_of=list(range(len(pictures))),
        pictures=pictures,
        sizes=[(picture.shape[1], picture.shape[0]) for picture in pictures],
    )


def _nearest(stamps: Times, times: Times) -> list[int]:
    after = np.clip(np.searchsorted(stamps, times), 1, max(1, len(stamps) - 1))
    earlier = np.abs(stamps[after - 1] - times) <= np.abs(stamps[np.minimum(after, len(stamps) - 1)] - times)
    return [int(at) for at in np.where(earlier, after - 1, after)]


def _between(stamps: Times, ats: Sequence[int]) -> set[int]:
    """The pictures between the frames that are searched too, at most MAX_BETWEEN."""
    step = max(SEARCH_STEP, float(stamps[-1] - stamps[0]) / MAX_BETWEEN)
    edges = [float(stamps[at]) for at in ats]
    edges = [float(stamps[0]) - step / 2, *edges, float(stamps[-1]) + step / 2]  # half a step to the clip's ends
    wanted = [a + (b - a) * k / n for a, b in pairwise(edges)
              if (n := int(np.ceil((b - a) / step - 1e-6))) > 1 for k in range(1, n)]  # fmt: skip
    return set(_nearest(stamps, np.asarray(wanted))) if wanted else set()


def _grey_indices(stamps: Times) -> set[int]:
    step = float(np.median(np.diff(stamps))) if len(stamps) > 1 else GREY_STEP
    every = range(0, len(stamps), max(1, round(GREY_STEP / max(step, 1e-3))))
    if len(every) <= MAX_GREYS:
        return set(every)
    piece, stride = MAX_GREYS // WINDOWS, len(every) / WINDOWS
    return {every[int(window * stride) + at] for window in range(WINDOWS) for at in range(piece)}


def _side(rgb: Picture, count: int) -> int:
    """The longer side with which `count` pictures of this shape take MAX_BYTES, at most MAX_SIDE."""
    return int(min(MAX_SIDE, max(rgb.shape[:2]) * np.sqrt(min(1.0, MAX_BYTES / (count * rgb.size)))))
