"""The interface of face detectors, and the detector MTCNN.

A detector is given the frames of only one clip per call. MTCNN's later networks and its suppression of overlapping
boxes work on all images of a call together, so that the boxes of one clip would depend on the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

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
    """The k faces that a detector found in one picture. Coordinates are pixels of that picture.

    Attributes:
        boxes: (k, 4) float32: left, top, right, bottom.
        scores: (k,) float32 in [0, 1]: how sure the detector is.
        landmarks: (k, 5, 2) float32: x and y of the left eye, the right eye, the nose, the left and the right corner
            of the mouth. Left and right are those of the picture.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    @classmethod
    def none(cls) -> Detections:
        """The detections of a picture without a face: k is 0."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

    def scaled(self, factor: float) -> Detections:
        """Return the same faces in the coordinates of a picture that is `factor` times as large.

        Example:
            >>> box = np.array([[1, 2, 3, 4]], np.float32)
            >>> found = Detections(box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
            >>> found.scaled(2).boxes.tolist()
            [[2.0, 4.0, 6.0, 8.0]]
        """
        return Detections(self.boxes * np.float32(factor), self.scores, self.landmarks * np.float32(factor))


class PrimaryParams(Section):
    """The choice of one primary face per clip."""

    primary: Literal["speaker", "largest", "listener"] = "speaker"  # whose face is the clip's
    min_confidence: Fraction = 0.15  # less sure that it is the speaker's (or the listener's), a face is left out


class FaceParams(PrimaryParams):
    """Face detection, and the choice of one primary face per clip. `detector` names the detector; each detector has
    options of its own besides."""

    detector: str = "mtcnn"  # name of the detector
    detect_side: Annotated[int, Field(ge=32)] = 640  # pixels of the longer side of the copy that is searched
    min_score: Fraction = 0.9  # of the detector, once for each track; faces that never reach it are not chosen
    margin: Annotated[float, Field(ge=0.0, le=2.0)] = 0.1  # added on each side, as a fraction of the face's size
    size: Annotated[int, Field(ge=32)] = 160  # pixels of each side of the aligned crop
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95  # of the crops
    # of a network that recognises people, to find the same person in several shots; without it looks are compared
    checkpoint: Annotated[str | None, Field(examples=["facenet:vggface2"])] = None

    def without_choice(self) -> Self:
        """Return the same with the choice of the primary face at its defaults, for what is done before the choice."""
        return self.model_copy(update={name: field.default for name, field in PrimaryParams.model_fields.items()})

    def choice(self) -> PrimaryParams:
        """Return the choice of the primary face alone."""
        return PrimaryParams(primary=self.primary, min_confidence=self.min_confidence)


FACES = Choice(FaceParams, "detector", DETECTORS)  # the section `faces` of params.yaml


class Detector(ABC):
    """Base of the face detectors. A detector finds the faces in the frames of one clip.

    Attributes:
        Params: the class of the section `faces` of params.yaml for this detector.

    Args:
        params: the section `faces`.
    """

    Params: type[FaceParams] = FaceParams

    def __init__(self, params: FaceParams) -> None:
        self.params: FaceParams = params

    def files(self) -> Sequence[Path]:
        """The files with the detector's weights."""
        return ()

    def setup(self, device: torch.device) -> None:
        """Load the weights onto a device."""
        del device

    @abstractmethod
    def detect(self, pictures: npt.NDArray[np.uint8]) -> list[Detections]:
        """Find the faces in each picture.

        Args:
            pictures: (n, height, width, 3) uint8 RGB.

        Returns:
            The faces of each picture, n entries.
        """


class MtcnnParams(FaceParams):
    """The detector MTCNN of facenet-pytorch. Its weights are part of that package."""

    min_face: Annotated[int, Field(ge=12)] = 24  # pixels, in the copy that is searched


class Mtcnn(Detector):
    """The detector MTCNN (Zhang et al., 2016) of facenet-pytorch. Its weights are part of that package."""

    SMALLEST = 12  # pixels of the first network's window; no face can be found in a smaller picture

    Params = MtcnnParams
    params: MtcnnParams

    def files(self) -> Sequence[Path]:
        """The weights of the three networks, in the folder of facenet-pytorch.

        The folder is looked up without an import of the package, because that would import torch.
        """
        package = find_spec("facenet_pytorch")
        assert package is not None
        assert package.origin is not None
        return sorted(Path(package.origin).parent.joinpath("data").glob("?net.pt"))

    def setup(self, device: torch.device) -> None:
        """Load the three networks onto a device."""
        from facenet_pytorch import MTCNN

        self._net = MTCNN(keep_all=True, min_face_size=self.params.min_face, device=device).eval()

    def detect(self, pictures: npt.NDArray[np.uint8]) -> list[Detections]:
        """Find the faces in each picture, as `Detector.detect` describes."""
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
    """Make the detector that the section `faces` of params.yaml names."""
    return DETECTORS.load(params.detector)(params)
