"""Stage `embed@NAME`: one encoder over all clips."""

from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.encoder import make_encoder
from mer_pipeline.errors import ParamsError, did_you_mean
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.params import load_params

import typer


@stage
def main(name: str) -> str:
    """Embed every clip with the encoder NAME of params.yaml."""
    params = load_params()
    if name not in params.encoders:
        raise ParamsError(f"params.yaml has no encoder '{name}'{did_you_mean(name, params.encoders)}")
    check_locked(checkpoints_of({name: params.encoders[name]}, {}))
    encoder = make_encoder(name, params.encoders[name])
    return run_stage(encoder, f"features/{name}", params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
