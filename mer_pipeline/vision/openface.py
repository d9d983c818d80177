"""`openface`: faces that the dataset brings, cut out and aligned by OpenFace, instead of a detector of our own.

The challenge releases them as an array per clip, (T, 112, 112, 3) uint8, a picture per frame of the film. The channels
are in the order blue, green, red. A picture without a face is black. Where in the frame a face was, and where its
landmarks are, is not in the release: boxes, landmarks and scores are NaN, and what would be measured on them is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Count
from mer_pipeline.media import jpeg
from mer_pipeline.media.container import listed_content
from mer_pipeline.media.npy import read_some_pictures
from mer_pipeline.vision.detector import FaceParams, PrimaryParams
from mer_pipeline.vision.tracks import FollowFaces


class OpenFaceParams(FaceParams):
    """Faces that the dataset brings, cut out by OpenFace; no detector runs. Of the keys above it reads
    `jpeg_quality` alone."""

    n: Count = 8  # pictures of each clip, at the centres of n equal spans of time
    fps: Annotated[float, Field(gt=0, le=1000)] = 25.0  # pictures a second, where neither CSV nor video says

    @model_validator(mode="after")
    def _reads_them_all(self) -> OpenFaceParams:
        if unread := sorted(self.model_fields_set & FaceParams.model_fields.keys() - {"detector", "jpeg_quality"}):
            raise ValueError(f"detector 'openface' reads no {', '.join(unread)}: the faces are cut out already")
        return self

    def choice(self) -> PrimaryParams:
        """Return the choice of the only person that there is."""
        return PrimaryParams(primary="largest")


class OpenFace(Transform[Row]):
    """The transform from a clip's array of faces to its row of `data/tracks/`: one person. `prepare` does all the work.

    Attributes:
        Params: the class of the section `faces`.
    """

    Params = OpenFaceParams

    name = "tracks"
    sources = (Source("manifest", ("faces_sha256", "fps", "frame_rate"), locators=("faces",)),)
    schema = FollowFaces.schema

    def __init__(self, params: OpenFaceParams, root: Path) -> None:
        self.params: OpenFaceParams = params
        self.root = root

    def prepare(self, clip: Clip) -> Row:
        """Read the pictures, leave out the black ones, encode."""
        row = clip.need("manifest")
        if row["faces"] is None:
            raise Skip("no face: the dataset brings none of this clip")
        path = self.root / str(row["faces"])
        with listed_content(path, row["faces_sha256"]):
            indices, pictures = read_some_pictures(path, self._spread)
        seen = np.array([picture.any() for picture in pictures], np.bool_)
        if not seen.any():
            raise Skip("no face found")
        fps = row["fps"] or row["frame_rate"] or self.params.fps
        assert isinstance(fps, float)
        count = int(seen.sum())
        rgb = np.ascontiguousarray(pictures[seen][..., ::-1])
        person = {
            "crops": [jpeg.encode(picture, self.params.jpeg_quality) for picture in rgb],
            "times": [at / fps for at in indices[seen].tolist()],
            "frame_index": indices[seen].tolist(),
            "boxes": [[float("nan")] * 4] * count,
            "landmarks": [[float("nan")] * 10] * count,
            "scores": [float("nan")] * count,
            "shown": count / len(seen),
            "side": 1.0,
            "sharpness": 0.0,
            **{name: [] for name in ("motion_times", "mouth", "upper", "mouth_shape")},
        }
        return {"frames": len(seen), "cuts": [], "people": [person], "candidates": []}

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)

    def _spread(self, count: int) -> npt.NDArray[np.int64]:
        """The pictures at the centres of equal spans; each once."""
        return np.unique(((np.arange(self.params.n) + 0.5) * count / self.params.n).astype(np.int64))
