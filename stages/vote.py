"""Stage `vote@NAME`: one judge over all clips."""

from pathlib import Path

from mer_pipeline.cli.stage import progress_bar, run_stage, stage
from mer_pipeline.errors import ParamsError, did_you_mean
from mer_pipeline.judges.make import make_judge
from mer_pipeline.judges.outside import DATA, match_names
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.params import load_params
from mer_pipeline.runtime import load_runtime
from mer_pipeline.tables.shards import forget_others

import pyarrow.parquet as pq
import typer


@stage
def main(name: str) -> str:
    """Let the judge NAME of params.yaml say how much each class fits each clip."""
    params = load_params()
    if name not in params.judges:
        raise ParamsError(f"params.yaml has no judge '{name}'{did_you_mean(name, params.judges)}")
    judge, note = params.judges[name], ""
    if judge.kind == "fusion-head":
        from mer_pipeline.heads.base import ComputeConfig
        from mer_pipeline.training.fusion_head_judge import FusionHeadPaths, vote

        own = FusionHeadPaths(
            features=Path("data/features"),
            manifest=Path("data/manifest.parquet"),
            folds=Path("data/folds.parquet"),
            votes=Path("data/votes", name),
            quarantine=Path("data/quarantine", f"vote-{name}.parquet"),
        )
        forget_others(own.features, "embed", params.encoders, own.quarantine.parent)
        classes, bar, runtime = params.dataset.classes, progress_bar(f"vote-{name}"), load_runtime()
        place, store = ComputeConfig(runtime.torch_device(), runtime.workers), runtime.store_url
        how = (params.train, params.modalities, classes, params.shards)
        return vote(name, judge, *how, own, bar, store, place, params.merged)
    check_locked(checkpoints_of({}, {name: judge}))
    made = make_judge(name, judge, params.dataset.classes)
    match judge.kind:
        case "csv":
            clips = pq.read_table(Path("data/manifest.parquet"), columns=["clip_id"])["clip_id"].to_pylist()
            unmatched = match_names(DATA / judge.input, frozenset(clips))
            shown = ", ".join(unmatched[:3]) + (", ..." if len(unmatched) > 3 else "")
            note = f"; {len(unmatched)} names of data/{judge.input} are no clips ({shown})" if unmatched else ""
    return run_stage(made, f"votes/{name}", params.shards, params.quality) + note


if __name__ == "__main__":
    typer.run(main)
