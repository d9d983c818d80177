"""Hugging Face `datasets`: a dataset of paths and their hashes, mapped clip by clip with its cache on.

From a file and not `Dataset.from_dict`: what is mapped from a dataset in memory is cached for the session alone. The
hashes are a column, so that an altered file makes another dataset, and the weights are handed over as an array, so
that they enter the fingerprint by value.
"""

from pathlib import Path
from typing import Any

import datasets
from workload.clip import SIZE, features, weights_of

from contenders.job import MANIFEST, RESULT, WEIGHTS, make_manifest, measure, params

FEATURES = datasets.Features(
    {"clip_id": datasets.Value("string"), "vector": datasets.List(datasets.Value("float32"), length=SIZE)}
)


def compute(row: dict[str, str], weights: Any, pad_to: int, shifts: int) -> dict[str, Any]:
    """One row."""
    return {"vector": features(Path(row["path"]).read_bytes(), weights, pad_to, shifts)}


def work() -> None:
    """Map the manifest to vectors."""
    make_manifest()
    table = datasets.Dataset.from_parquet(str(MANIFEST), cache_dir="cache")
    kwargs = {"weights": weights_of(str(WEIGHTS)), **params()}
    mapped = table.map(compute, fn_kwargs=kwargs, remove_columns=["path", "sha256"], features=FEATURES)
    RESULT.mkdir(exist_ok=True)
    mapped.to_parquet(str(RESULT / "part-00000.parquet"))


if __name__ == "__main__":
    datasets.disable_progress_bars()
    measure(work)
