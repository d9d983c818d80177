"""The real pipeline up to the embeddings, without DVC and training: what each stage's script does, in one process."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from mer_pipeline.config.params import load_params
from mer_pipeline.config.steps import steps
from mer_pipeline.store.fingerprint import fingerprint_of

STAGES = ("ingest", "frames", "audio", "transcribe", "faces", "enrich", "labels")
ROOT = Path(__file__).resolve().parent.parent.parent


def warm_up() -> None:
    """What the stages import, and the syntax trees of their code; forks share both."""
    for step in steps(load_params(ROOT / "params.yaml")):
        fingerprint_of(step.make(), "cpu")


def run_once(encoders: list[str], store: str | None = None) -> None:
    """Run the stages in the current folder, which has params.yaml and the dataset."""
    if store is not None:
        os.environ["MER_STORE"] = store
    for words in [*([stage] for stage in STAGES), *(["embed", name] for name in encoders)]:
        sys.argv = [str(ROOT / f"stages/{words[0]}.py"), *words[1:]]
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"stage {words} ended with {stop.code}") from None
