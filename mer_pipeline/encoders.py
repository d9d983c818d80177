"""From an entry under `encoders` in params.yaml to the encoder: the one list of families.

A new kind of encoder is one file in the package of its modality and one line here. Imports are inside the
functions: a stage pays only for the family that it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mer_pipeline.encoder import Encoder
from mer_pipeline.params import EncoderParams

# The type of the items between prepare and infer is each encoder's own affair.
AnyEncoder: TypeAlias = Encoder[object]


def make_encoder(name: str, params: EncoderParams) -> AnyEncoder:
    """The encoder that an entry describes.

    Raises:
        CheckpointError: its model's files are missing or unfit.
    """
    return _FAMILIES[params.family](name, params)


def _appearance(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.vision.appearance import Appearance

    return Appearance(name, params)  # type: ignore[return-value]  # see AnyEncoder, here and below


def _face_geometry(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.vision.geometry import FaceGeometry

    return FaceGeometry(name, params)  # type: ignore[return-value]


def _logmel(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.speech.logmel import LogMel

    return LogMel(name, params)  # type: ignore[return-value]


def _char_ngram(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.text.char_ngram import CharNgram

    return CharNgram(name, params)  # type: ignore[return-value]


def _open_clip(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.vision.open_clip import OpenClip

    return OpenClip(name, params)  # type: ignore[return-value]


def _facenet(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.vision.facenet import Facenet

    return Facenet(name, params)  # type: ignore[return-value]


def _hf_vision(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.vision.hf_vision import HfVision

    return HfVision(name, params)  # type: ignore[return-value]


def _hf_speech(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.speech.hf_speech import HfSpeech

    return HfSpeech(name, params)  # type: ignore[return-value]


def _hf_text(name: str, params: EncoderParams) -> AnyEncoder:
    from mer_pipeline.text.hf_text import HfText

    return HfText(name, params)  # type: ignore[return-value]


_FAMILIES: dict[str, Callable[[str, EncoderParams], AnyEncoder]] = {
    "appearance": _appearance,
    "face-geometry": _face_geometry,
    "logmel": _logmel,
    "char-ngram": _char_ngram,
    "open-clip": _open_clip,
    "facenet": _facenet,
    "hf-vision": _hf_vision,
    "hf-speech": _hf_speech,
    "hf-text": _hf_text,
}
