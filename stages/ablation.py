"""Stage `ablation`: what each part of the system is worth."""

from pathlib import Path

from mer_pipeline.cli.stage import progress_bar, stage
from mer_pipeline.params import load_params
from mer_pipeline.runtime import load_runtime
from mer_pipeline.scores.ablation_table import AblationFiles, nothing_measured, write_ablation
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main() -> str:
    """Cross-validate the system with one part changed at a time; write scores, differences and their significance."""
    params = load_params()
    files = AblationFiles(metrics=Path("metrics/ablation.json"), plot=Path("plots/ablation.csv"))
    if not params.ablation.enabled:
        write_ablation(files, nothing_measured(None))
        return "ablation: off (ablation.enabled)"
    # Here, so that a stage that is off does not wait for torch.
    from mer_pipeline.heads.base import ComputeConfig
    from mer_pipeline.training.ablation import AblationPaths, Encoders, ablate

    paths = AblationPaths(
        features=Path("data/features"),
        manifest=Path("data/manifest.parquet"),
        labels=Path("data/labels.parquet"),
        folds=Path("data/folds.parquet"),
        truth=Path("data/truth.parquet"),
        written=files,
        pseudo=Path("data/pseudo.parquet"),
    )
    forget_others(paths.features, "embed", params.encoders, Path("data/quarantine"))
    encoders = Encoders(params.modalities, params.mixed, params.plain, params.visual)
    bar, runtime = progress_bar("ablation"), load_runtime()
    compute = ComputeConfig(runtime.torch_device(), runtime.workers)
    return ablate(
        params.ablation, params.train, encoders, params.dataset.classes, paths, bar, runtime.store_url, compute
    )


if __name__ == "__main__":
    typer.run(main)
