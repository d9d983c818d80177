"""Before a stage knows that there is nothing to compute, it imports no library of models, which would take seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MAKE = """
import json
import sys
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.store.fingerprint import fingerprint_of

for params in json.loads(sys.argv[1]):
    fingerprint_of(make_encoder("one", ENCODER.parse(params)), "cpu")
    print(params["checkpoint"], sorted({"torch", "transformers", "open_clip", "facenet_pytorch"} & sys.modules.keys()))
"""
ENCODERS = [
    ("hf-text", "transcript", "bert"),
    ("hf-text", "transcript", "llama"),
    ("hf-speech", "audio", "hubert"),
    ("hf-speech", "audio", "wavlm"),
    ("hf-speech", "audio", "whisper"),
    ("hf-vision", "frames", "clip"),
    ("hf-vision", "faces", "vit"),
    ("open-clip", "frames", "open-clip"),
    ("facenet", "faces", "facenet"),
]


def test_what_an_encoder_would_compute_is_known_without_a_library_of_models(tiny: Path) -> None:
    """Making an encoder and its fingerprint imports neither torch nor a library of models."""
    params = [{"family": f, "input": table, "checkpoint": f"dir:{tiny / kind}"} for f, table, kind in ENCODERS]
    done = subprocess.run([sys.executable, "-c", MAKE, json.dumps(params)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{one['checkpoint']} []" for one in params]
