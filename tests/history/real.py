"""The real pipeline up to the embeddings, without DVC and training: what each stage's script does, in one process."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

STAGES = ("ingest", "frames", "audio", "faces", "enrich", "labels")
ROOT = Path(__file__).resolve().parent.parent.parent


def warm_up() -> None:
    """What the stages import; forks share it."""
    import facenet_pytorch  # noqa: F401
    import sklearn.feature_extraction.text  # noqa: F401
    import torchaudio  # noqa: F401

    import mer_pipeline.base.encoder
    import mer_pipeline.enrich.transform
    import mer_pipeline.stage.rows
    import mer_pipeline.vision.appearance
    import mer_pipeline.vision.geometry  # noqa: F401


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
