"""Stage `train`: the fusion heads over folds and seeds, and the choice among them."""

from pathlib import Path

from mer_pipeline.cli.stage import progress_bar, stage
from mer_pipeline.heads.base import ComputeConfig
from mer_pipeline.params import load_params
from mer_pipeline.runtime import load_runtime
from mer_pipeline.tables.shards import forget_others
from mer_pipeline.training.train import TrainPaths, train

import typer


@stage
def main() -> str:
    """Train every head on all modalities and on each alone; write members, out-of-fold predictions and scores."""
    params = load_params()
    paths = TrainPaths(
        features=Path("data/features"),
        manifest=Path("data/manifest.parquet"),
        labels=Path("data/labels.parquet"),
        folds=Path("data/folds.parquet"),
        truth=Path("data/truth.parquet"),
        fusion=Path("data/fusion"),
        metrics=Path("metrics/train.json"),
        plots=Path("plots"),
        pseudo=Path("data/pseudo.parquet"),
    )
    forget_others(paths.features, "embed", params.encoders, Path("data/quarantine"))
    classes, folds = params.dataset.classes, params.folds.n
    bar, runtime = progress_bar("train"), load_runtime()
    compute = ComputeConfig(runtime.torch_device(), runtime.workers)
    read, store = (params.modalities, params.mixed), runtime.store_url
    return train(params.train, *read, classes, folds, paths, bar, store, compute, params.merged)


if __name__ == "__main__":
    typer.run(main)
