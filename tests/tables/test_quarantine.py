from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import PROBLEM_SCHEMA
from mer_pipeline.base.errors import TooManyFailed
from mer_pipeline.tables.quarantine import QualityParams, check_quality, write_problems


def problem(clip_id: str, message: str = "broken") -> dict[str, object]:
    return dict.fromkeys(PROBLEM_SCHEMA.names, "") | {"clip_id": clip_id, "message": message}


def test_problems_are_sorted_by_clip(tmp_path: Path) -> None:
    """In whatever order they were met, and two of one clip by what they say."""
    write_problems(tmp_path / "q.parquet", [problem("b", "z"), problem("c"), problem("a"), problem("b", "y")])
    rows = pq.read_table(tmp_path / "q.parquet").to_pylist()
    assert [(row["clip_id"], row["message"]) for row in rows] == [
        ("a", "broken"), ("b", "y"), ("b", "z"), ("c", "broken")
    ]  # fmt: skip


@pytest.mark.outcome("one clip of two or more is broken", "no stage stops, unless `quality.max_failed` is 0")
@pytest.mark.parametrize(
    ("max_failed", "clips", "allowed"),
    [(0.05, 100, 5), (0.05, 119, 5), (0.05, 120, 6), (0.05, 10, 1), (0.05, 2, 1), (0.05, 1, 0), (0.0, 100, 0)],
)
def test_a_stage_may_fail_on_so_many_clips(max_failed: float, clips: int, allowed: int) -> None:
    """A share of them; in a small folder on one, unless it is the only one or none may fail. One more stops the stage,
    and the first by name is told."""
    quality, names = QualityParams(max_failed=max_failed), [f"c{at}" for at in range(9, 9 - allowed - 1, -1)]
    problems = [problem(name) for name in names]
    check_quality("frames", problems[:allowed], clips, quality, Path("q.parquet"))
    with pytest.raises(TooManyFailed, match=rf"{allowed + 1} of {clips} clips failed.*the first is '{min(names)}'"):
        check_quality("frames", problems, clips, quality, Path("q.parquet"))
