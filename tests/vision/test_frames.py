from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.vision.frames import FrameParams, SampleFrames, sample_indices
from tests.conftest import clip, listed

TIMES = st.lists(st.floats(0, 20), min_size=1, max_size=200, unique=True).map(lambda t: np.array(sorted(t)))
PARAMS = st.builds(
    FrameParams,
    mode=st.sampled_from(["uniform", "fps", "all"]),
    n=st.integers(1, 40),
    fps=st.floats(0.1, 60),
    max_frames=st.integers(1, 50),
)


@given(PARAMS, TIMES, st.floats(0, 1))
def test_chosen_frames_exist_and_ascend(params: FrameParams, times: np.ndarray, last: float) -> None:
    """Some frame is always chosen, none twice, never more than asked."""
    chosen = sample_indices(params, times, float(times[-1]) + last)
    assert len(chosen) >= 1
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < len(times)
    assert len(chosen) <= (params.n if params.mode == "uniform" else params.max_frames)


def test_uniform_takes_what_is_shown_at_the_centres_of_equal_spans() -> None:
    """2 s at 10 frames a second, four spans: 0.25, 0.75, 1.25 and 1.75 s."""
    times = np.arange(20) / 10
    assert times[sample_indices(FrameParams(mode="uniform", n=4), times, 2.0)] == pytest.approx([0.2, 0.7, 1.2, 1.7])


def test_uniform_is_uniform_in_time_and_not_in_frames() -> None:
    """A clip with a variable rate: the long frame in the middle is shown for most of the time."""
    times = np.array([0.0, 0.1, 0.2, 1.7, 1.8, 1.9])
    assert sample_indices(FrameParams(mode="uniform", n=4), times, 2.0).tolist() == [2, 3]


def test_fps_and_all() -> None:
    """Two a second over two seconds are four; all is all, spread where there are too many."""
    times = np.arange(20) / 10
    assert times[sample_indices(FrameParams(mode="fps", fps=2.0), times, 2.0)] == pytest.approx([0.0, 0.5, 1.0, 1.5])
    assert sample_indices(FrameParams(mode="all"), times, 2.0).tolist() == list(range(20))
    assert sample_indices(FrameParams(mode="all", max_frames=5), times, 2.0).tolist() == [2, 6, 10, 14, 18]


def test_the_last_frame_is_sampled_as_often_as_the_others(make_film: Callable[..., Path], tmp_path: Path) -> None:
    """Four frames, four spans of time: one frame each, because the last one is shown for as long as the others."""
    make_film("a.mp4", frames=4, rate=10)
    stage = SampleFrames(FrameParams(mode="uniform", n=4), tmp_path)
    row = stage.prepare(clip(manifest=listed(tmp_path, video="a.mp4")))
    assert row["times"] == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-3)
