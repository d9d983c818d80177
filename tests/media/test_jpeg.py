import numpy as np
import pytest
from PIL import Image

from mer_pipeline.base.errors import BadInput
from mer_pipeline.media import jpeg

SMOOTH = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)).resize((200, 160))
)


def test_a_picture_survives_its_jpeg() -> None:
    """Red stays red, up stays up; better quality is nearer."""
    errors = [np.abs(jpeg.decode(jpeg.encode(SMOOTH, quality)).astype(int) - SMOOTH).mean() for quality in (30, 90)]
    assert errors[1] < 3
    assert errors[1] < errors[0]


def test_what_is_no_jpeg_is_bad_input() -> None:
    """Neither another format nor half a picture is guessed at."""
    import io

    png = io.BytesIO()
    Image.fromarray(SMOOTH).save(png, "PNG")
    for data in (b"", b"hello", png.getvalue(), jpeg.encode(SMOOTH, 90)[:300]):
        with pytest.raises(BadInput, match="no readable JPEG"):
            jpeg.decode(data)


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((160, 200), 100, (80, 100)),
        ((200, 160), 100, (100, 80)),
        ((160, 200), 200, (160, 200)),
        ((160, 200), 640, (160, 200)),
        ((3, 4000), 640, (1, 640)),  # 0.48 rows are one
    ],
)
def test_the_longer_side_is_bounded(size: tuple[int, int], limit: int, expected: tuple[int, int]) -> None:
    """Never made larger, and never without a row."""
    assert jpeg.shrink(np.zeros((*size, 3), np.uint8), limit).shape == (*expected, 3)


def test_shrinking_averages() -> None:
    """Stripes of one pixel become grey: what is too fine to be seen does not become a pattern."""
    stripes = np.tile(np.array([[[0] * 3, [255] * 3]], np.uint8), (400, 200, 1))
    assert np.ptp(jpeg.shrink(stripes, 100)[5:-5, 5:-5].astype(int)) < 10
