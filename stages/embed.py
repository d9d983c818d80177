"""Stage `embed@NAME`: one encoder over all clips."""

from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.csv_files import unmatched_names
from mer_pipeline.encoders import make_encoder
from mer_pipeline.errors import ParamsError, did_you_mean
from mer_pipeline.external.tables import names_of
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.params import load_params
from mer_pipeline.project import Project

import pyarrow.parquet as pq
import typer


@stage
def main(name: str) -> str:
    """Embed every clip with the encoder NAME of params.yaml."""
    params = load_params()
    if name not in params.encoders:
        raise ParamsError(f"params.yaml has no encoder '{name}'{did_you_mean(name, params.encoders)}")
    check_locked(checkpoints_of({name: params.encoders[name]}, {}))
    encoder, note = make_encoder(name, params.encoders[name]), ""
    match params.encoders[name].family:
        case "file":
            clips = pq.read_table(Project().clips)["clip_id"].to_pylist()
            place = Project().data / params.encoders[name].input
            unmatched = unmatched_names(place, names_of(place), frozenset(clips))
            shown = ", ".join(unmatched[:3]) + (", ..." if len(unmatched) > 3 else "")
            note = f"; {len(unmatched)} names of {place} are no clips ({shown})" if unmatched else ""
    return run_stage(encoder, f"features/{name}", params.shards, params.quality) + note


if __name__ == "__main__":
    typer.run(main)
