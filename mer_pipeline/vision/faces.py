"""The stage `faces`: find faces in the frames of a clip, choose one primary face, and crop it.

Faces are detected in a smaller copy of each frame, and the crop is taken from the full frame. It is made by the
similarity transform (rotation, scale, shift) that brings the face's five landmarks nearest to a fixed layout. Thus
eyes and mouth lie at almost the same pixels in every crop, and what differs between crops is mainly the expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.media import jpeg
from mer_pipeline.vision.detector import Detections, FaceParams, Floats, make_detector
from mer_pipeline.vision.frames import Frames
from mer_pipeline.vision.track import primary_track

if TYPE_CHECKING:
    import torch

Picture = npt.NDArray[np.uint8]  # (height, width, 3)

# The place of each landmark in a crop without margin, in fractions of the crop's side. It is the usual five-point
# layout of face recognition, which is given for crops of 112 pixels.
LAYOUT = np.array(
    [[0.3419, 0.4616], [0.6565, 0.4598], [0.5003, 0.6405], [0.3710, 0.8247], [0.6315, 0.8232]], dtype=np.float64
)


@dataclass(frozen=True)
class Faces:
    """A clip's row of the table `faces`: the primary face, once for each frame that shows it.

    Attributes:
        crops: the square crops, as JPEG.
        times: presentation times in seconds.
        boxes: (faces, 4) float32: left, top, right, bottom in pixels of the frame.
        landmarks: (faces, 5, 2) float32: x and y in pixels of the frame, in the order of `Detections`.
        coverage: share of the clip's frames that show the primary face.
    """

    crops: Sequence[bytes]
    times: Sequence[float]
    boxes: Floats
    landmarks: Floats
    coverage: float

    @property
    def is_measured(self) -> bool:
        """Whether boxes and landmarks are known; faces that others cut out come without."""
        return bool(np.isfinite(self.landmarks).all())

    @classmethod
    def of(cls, row: Row) -> Faces:
        """Read the columns of a row."""
        return cls(
            row["crops"],  # type: ignore[arg-type]  # typed by CropFaces.schema, as are the others
            row["times"],  # type: ignore[arg-type]
            np.array(row["boxes"], np.float32).reshape(-1, 4),
            np.array(row["landmarks"], np.float32).reshape(-1, 5, 2),
            row["coverage"],  # type: ignore[arg-type]
        )


def pictures_of(clip: Clip, table: str) -> Sequence[bytes]:
    """Return a clip's frames or face crops as JPEG bytes.

    Args:
        clip: the clip, with its row of that table.
        table: "frames" or "faces".

    Raises:
        Skip: if the clip has none.
    """
    row = clip.need(table)
    return Faces.of(row).crops if table == "faces" else Frames.of(row).jpegs


class CropFaces(Transform[tuple[Frames, list[Picture]]]):
    """The transform from frames to aligned crops of the primary face.

    An item is the frames of one clip and their decoded pictures.
    """

    name = "faces"
    uses_torch = True
    sources = (Source("frames", ("jpegs", "times")),)
    schema = pa.schema(
        [
            pa.field("crops", pa.list_(pa.binary())),
            pa.field("times", pa.list_(pa.float64())),
            pa.field("frame_index", pa.list_(pa.int32())),  # which of the clip's frames each crop is from
            pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            pa.field("landmarks", pa.list_(pa.list_(pa.float32(), 10))),
            pa.field("scores", pa.list_(pa.float32())),
            pa.field("coverage", pa.float32()),
            # All boxes that the detector gave, also those of other faces and with low scores.
            pa.field(
                "candidates",
                pa.list_(
                    pa.struct([("frame", pa.int32()), ("box", pa.list_(pa.float32(), 4)), ("score", pa.float32())])
                ),
            ),
        ]
    )

    def __init__(self, params: FaceParams) -> None:
        self.params: FaceParams = params
        self.detector = make_detector(params)

    def files(self) -> Sequence[Path]:
        """The files with the detector's weights."""
        return self.detector.files()

    def setup(self, device: torch.device) -> None:
        """Load the detector onto a device."""
        self.detector.setup(device)

    def prepare(self, clip: Clip) -> tuple[Frames, list[Picture]]:
        """Decode the frames of a clip."""
        frames = Frames.of(clip.need("frames"))
        return frames, [jpeg.decode(data) for data in frames.jpegs]

    def infer(self, items: Sequence[tuple[Frames, list[Picture]]]) -> list[Row | Skip]:
        """Detect, choose and crop the primary face of each clip.

        The detector is called once per clip; or once per size of its pictures, if the size changes within the video.

        Returns:
            A row for each clip, or a Skip if the clip shows no face.
        """
        return [self._faces(frames, pictures) for frames, pictures in items]

    def _detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        detections = [Detections.none()] * len(pictures)
        for shape in dict.fromkeys(picture.shape for picture in pictures):
            alike = [at for at, picture in enumerate(pictures) if picture.shape == shape]
            small = np.stack([jpeg.shrink(pictures[at], self.params.detect_side) for at in alike])
            for at, found in zip(alike, self.detector.detect(small), strict=True):
                detections[at] = found.scaled(shape[1] / small.shape[2])
        return detections

    def _faces(self, frames: Frames, pictures: Sequence[Picture]) -> Row | Skip:
        detections = self._detect(pictures)
        track = primary_track(detections, self.params.min_score)
        if track is None:
            return Skip("no face found")
        chosen = [_pick(detections[at], pick) for at, pick in zip(track.frames, track.picks, strict=True)]
        crops = [
            align(pictures[at], face.landmarks[0], self.params.size, self.params.margin)
            for at, face in zip(track.frames, chosen, strict=True)
        ]
        return {
            "crops": [jpeg.encode(crop, self.params.jpeg_quality) for crop in crops],
            "times": [frames.times[at] for at in track.frames],
            "frame_index": track.frames,
            "boxes": np.concatenate([face.boxes for face in chosen]),
            "landmarks": np.concatenate([face.landmarks for face in chosen]).reshape(-1, 10),
            "scores": [float(face.scores[0]) for face in chosen],
            "coverage": len(track.frames) / len(pictures),
            "candidates": [
                {"frame": at, "box": box.tolist(), "score": float(score)}
                for at, found in enumerate(detections)
                for box, score in zip(found.boxes, found.scores, strict=True)
            ],
        }


def _pick(found: Detections, at: int) -> Detections:
    return Detections(found.boxes[at : at + 1], found.scores[at : at + 1], found.landmarks[at : at + 1])


def align(picture: Picture, landmarks: Floats, size: int, margin: float) -> Picture:
    """Crop a face by the similarity transform that brings its landmarks nearest to LAYOUT.

    Args:
        picture: (height, width, 3) uint8.
        landmarks: (5, 2) float32, x and y in pixels of the picture.
        size: side of the square crop in pixels.
        margin: what is added on each side, as a fraction of the crop's side without margin.

    Returns:
        (size, size, 3) uint8; black where the crop reaches beyond the picture.
    """
    target = (LAYOUT + margin) / (1 + 2 * margin) * size
    matrix = similarity(target, landmarks.astype(np.float64))  # from crop pixels to picture pixels
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale > 1:  # the affine transform does not smooth, so the picture is shrunk first
        small = jpeg.shrink(picture, max(1, round(max(picture.shape[:2]) / scale)))
        matrix = np.diag([small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]]) @ matrix
        picture = small
    image = Image.fromarray(picture).transform(
        (size, size), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BICUBIC
    )
    return np.asarray(image)


def similarity(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the similarity transform that takes source points nearest to target points, by least squares.

    The solution is that of Umeyama (1991) without reflection. In complex numbers it is t = a·s + b, where |a| is the
    scale and the argument of a is the rotation.

    Args:
        source: (n, 2) float64, x and y.
        target: (n, 2) float64, x and y.

    Returns:
        (2, 3) float64, the matrix of the transform: `target ≈ source @ matrix[:, :2].T + matrix[:, 2]`.

    Example:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> matrix = similarity(square, 2 * square + [3, 4])
        >>> (matrix @ [1, 1, 1]).round(6).tolist()  # where the point (1, 1) comes to lie
        [5.0, 6.0]
    """
    s, t = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    s0, t0 = s - s.mean(), t - t.mean()
    a = np.vdot(s0, t0) / max(np.vdot(s0, s0).real, 1e-12)  # if all points coincide, the divisor would be 0
    b = t.mean() - a * s.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
