"""Bring a face to a fixed layout: a crop in which eyes and mouth lie at almost the same pixels for every face.

The crop is made by the similarity transform (rotation, scale, shift) that brings the face's five landmarks nearest to
the layout. Thus what differs between crops is mainly the expression.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from mer_pipeline.media import jpeg
from mer_pipeline.vision.detector import Floats

Picture = npt.NDArray[np.uint8]  # (height, width, 3)

# The place of each landmark in a crop without margin, in fractions of the crop's side. It is the usual five-point
# layout of face recognition, which is given for crops of 112 pixels.
LAYOUT = np.array(
    [[0.3419, 0.4616], [0.6565, 0.4598], [0.5003, 0.6405], [0.3710, 0.8247], [0.6315, 0.8232]], dtype=np.float64
)


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
