"""`joblib.Memory`, the common way: `@memory.cache` on a function of a path, with the params as arguments."""

import joblib
from workload.clip import features_of_path

from contenders.job import WEIGHTS, clips, measure, params, write_result


def work() -> None:
    """Call the cached function for every clip."""
    cached = joblib.Memory("cache", verbose=0).cache(features_of_path)
    settings, rows = params(), clips()
    write_result([clip_id for clip_id, _ in rows], [cached(path, str(WEIGHTS), **settings) for _, path in rows])


if __name__ == "__main__":
    measure(work)
