"""The base: a loop that remembers nothing."""

from pathlib import Path

from workload.clip import features, weights_of

from contenders.job import WEIGHTS, clips, measure, params, write_result


def work() -> None:
    """Compute every clip."""
    weights, settings, rows = weights_of(str(WEIGHTS)), params(), clips()
    vectors = [features(Path(path).read_bytes(), weights, **settings) for _, path in rows]
    write_result([clip_id for clip_id, _ in rows], vectors)


if __name__ == "__main__":
    measure(work)
