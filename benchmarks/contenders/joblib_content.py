"""`joblib.Memory`, the careful way: the cached function takes the file's bytes and the weights themselves."""

from pathlib import Path

import joblib
from workload.clip import features, weights_of

from contenders.job import WEIGHTS, clips, measure, params, write_result


def work() -> None:
    """Call the cached function for every clip."""
    cached = joblib.Memory("cache", verbose=0).cache(features)
    weights, settings, rows = weights_of(str(WEIGHTS)), params(), clips()
    vectors = [cached(Path(path).read_bytes(), weights, **settings) for _, path in rows]
    write_result([clip_id for clip_id, _ in rows], vectors)


if __name__ == "__main__":
    measure(work)
