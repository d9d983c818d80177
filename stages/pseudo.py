"""Stage `pseudo`: labels for clips that have none, where the head and independent families agree."""

from pathlib import Path

from mer_pipeline.cli.stage import progress_bar, stage
from mer_pipeline.labels.pseudo_summary import nothing
from mer_pipeline.labels.pseudo_table import write_pseudo
from mer_pipeline.params import load_params
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main() -> str:
    """Label the pool in `pseudo.rounds` rounds, once for good and once without each fold; 0: an empty table."""
    params = load_params()
    classes, judges, quarantine = params.dataset.classes, params.judges, Path("data/quarantine")
    features, votes = Path("data/features"), Path("data/votes")
    table, metrics = Path("data/pseudo.parquet"), Path("metrics/pseudo.json")
    forget_others(features, "embed", params.encoders, quarantine)
    forget_others(votes, "vote", judges, quarantine)
    if not params.pseudo.rounds:
        write_pseudo(table, (), (), classes)
        nothing(params.pseudo, "pseudo.rounds is 0").write(metrics)
        return "pseudo: off"

    from mer_pipeline.heads.base import ComputeConfig
    from mer_pipeline.runtime import load_runtime
    from mer_pipeline.training.pseudo import pseudo
    from mer_pipeline.training.pseudo_inputs import PseudoPaths

    manifest, folds, labels = (Path(f"data/{name}.parquet") for name in ("manifest", "folds", "labels"))
    paths = PseudoPaths(features, manifest, folds, labels, votes, table, metrics)
    runtime, join, bar = load_runtime(), params.labels.join_dependent, progress_bar("pseudo")
    compute, store = ComputeConfig(runtime.torch_device(), runtime.workers), runtime.store_url
    how = (params.pseudo, params.train, params.modalities)
    return pseudo(*how, judges, join, classes, paths, bar, store, compute, params.merged)


if __name__ == "__main__":
    typer.run(main)
