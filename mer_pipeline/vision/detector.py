"""The face detector's interface, and MTCNN behind it.

A detector sees the frames of one clip per call: MTCNN's later nets and its suppression of overlapping
boxes span all images of a call, so mixing clips would move boxes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mer_pipeline.config.choice import Choice
from mer_pipeline.config.components import DETECTORS
from mer_pipeline.config.section import Fraction, Section

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """The faces found in one picture, in its pixels.

    Attributes:
        boxes: (k, 4) float32: left, top, right, bottom.
        scores: (k,) float32 in [0, 1].
        landmarks: (k, 5, 2) float32: x and y of left eye, right eye, nose, mouth left, mouth right, as seen.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    @classmethod
    def none(cls) -> Detections:
        """No face."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

    def scaled(self, factor: float) -> Detections:
        """The same faces in a picture `factor` times as large."""
        return Detections(self.boxes * np.float32(factor), self.scores, self.landmarks * np.float32(factor))


class FaceParams(Section):
    """Face detection, and the choice of one primary face per clip. `detector` says by which code; each detector has
    options of its own besides."""

    detector: str = "mtcnn"  # which code
    detect_side: Annotated[int, Field(ge=32)] = 320  # pixels of the longer side of the copy that is searched
    min_score: Fraction = 0.9  # of the detector; lower ones are kept as candidates only
    margin: Annotated[float, Field(ge=0.0, le=2.0)] = 0.1  # of the face's size, on each side
    size: Annotated[int, Field(ge=32)] = 160  # pixels, the aligned crop
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95  # of the crops


FACES = Choice(FaceParams, "detector", DETECTORS)  # the section `faces` of params.yaml


class Detector(ABC):
    """Finds faces in the frames of one clip.

    Attributes:
        Params: the class of the section `faces`.

    Args:
        params: that section.
    """

    Params: type[FaceParams] = FaceParams

    def __init__(self, params: FaceParams) -> None:
        self.params: FaceParams = params

    def files(self) -> Sequence[Path]:
        """Its weights."""
        return ()

    def setup(self, device: torch.device) -> None:
        """Load weights."""
        del device

    @abstractmethod
    def detect(self, pictures: npt.NDArray[np.uint8]) -> list[Detections]:
        """Faces of each picture of (n, height, width, 3) uint8 RGB, one entry per picture."""


class MtcnnParams(FaceParams):
    """MTCNN by facenet-pytorch, whose wheel carries the weights."""

    min_face: Annotated[int, Field(ge=12)] = 24  # pixels, in the copy that is searched


class Mtcnn(Detector):
    """MTCNN (Zhang et al. 2016) by facenet-pytorch, whose wheel carries the weights."""

    SMALLEST = 12  # pixels of the first net's window: a picture below it has no face that could be found

    Params = MtcnnParams
    params: MtcnnParams

    def files(self) -> Sequence[Path]:
        """The three nets, beside the code of facenet-pytorch (found without importing it, which imports torch)."""
        package = find_spec("facenet_pytorch")
        assert package is not None
        assert package.origin is not None
        return sorted(Path(package.origin).parent.joinpath("data").glob("?net.pt"))

    def setup(self, device: torch.device) -> None:
        """Load the three nets."""
        from facenet_pytorch import MTCNN

        self._net = MTCNN(keep_all=True, min_face_size=self.params.min_face, device=device).eval()

    def detect(self, pictures: npt.NDArray[np.uint8]) -> list[Detections]:
        """As Detector.detect."""
        if min(pictures.shape[1:3]) < self.SMALLEST * max(1.0, self.params.min_face / self.SMALLEST):
            return [Detections.none() for _ in pictures]
        found = []
        for boxes, scores, points in zip(*self._net.detect(pictures, landmarks=True), strict=True):
            if boxes is None:
                found.append(Detections.none())
            else:
                shapes = ((boxes, (-1, 4)), (scores, (-1,)), (points, (-1, 5, 2)))
                found.append(Detections(*(np.asarray(value, np.float32).reshape(shape) for value, shape in shapes)))
        return found


def make_detector(params: FaceParams) -> Detector:
    """The detector that the section names."""
    return DETECTORS.load(params.detector)(params)
