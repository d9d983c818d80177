"""From an entry under `encoders` in params.yaml to the encoder: the one list of families.

A new kind of encoder is one file in the package of its modality and one case here. Imports are inside the cases:
a stage pays only for the family that it runs.
"""

from __future__ import annotations

from typing import TypeAlias

from mer_pipeline.encoder import Encoder, EncoderParams

# What passes from prepare to infer is each encoder's own affair, so nobody else may depend on its type; that is
# what the ignores below are about.
AnyEncoder: TypeAlias = Encoder[object]


def make_encoder(name: str, params: EncoderParams) -> AnyEncoder:
    """The encoder that an entry describes.

    Raises:
        CheckpointError: its model's files are missing or unfit.
        DatasetError: what a person brought is not as described.
    """
    match params.family:
        case "appearance":
            from mer_pipeline.vision.appearance import Appearance

            return Appearance(name, params)  # type: ignore[return-value]
        case "face-geometry":
            from mer_pipeline.vision.geometry import FaceGeometry

            return FaceGeometry(name, params)  # type: ignore[return-value]
        case "logmel":
            from mer_pipeline.speech.logmel import LogMel

            return LogMel(name, params)  # type: ignore[return-value]
        case "char-ngram":
            from mer_pipeline.text.char_ngram import CharNgram

            return CharNgram(name, params)  # type: ignore[return-value]
        case "open-clip":
            from mer_pipeline.vision.open_clip import OpenClip

            return OpenClip(name, params)  # type: ignore[return-value]
        case "facenet":
            from mer_pipeline.vision.facenet import Facenet

            return Facenet(name, params)  # type: ignore[return-value]
        case "hf-vision":
            from mer_pipeline.vision.hf_vision import HfVision

            return HfVision(name, params)  # type: ignore[return-value]
        case "hf-speech":
            from mer_pipeline.speech.hf_speech import HfSpeech

            return HfSpeech(name, params)  # type: ignore[return-value]
        case "hf-text":
            from mer_pipeline.text.hf_text import HfText

            return HfText(name, params)  # type: ignore[return-value]
        case "file":
            from mer_pipeline.external.encoder import FromFile

            return FromFile(name, params)  # type: ignore[return-value]
