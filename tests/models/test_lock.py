"""Facts about models.lock."""

import json
from pathlib import Path

import pytest

from mer_pipeline.errors import CheckpointError
from mer_pipeline.models.lock import LOCK, check_locked, lock_models
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.params import EncoderParams


@pytest.fixture
def encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, EncoderParams]:
    """One with a checkpoint and one without."""
    monkeypatch.chdir(tmp_path)
    folder = make_tiny("bert", tmp_path / "bert", 0)
    return {
        "words": EncoderParams(family="hf-text", input="transcript", checkpoint=f"dir:{folder}"),
        "voice": EncoderParams(family="logmel", input="audio"),
    }


def test_locked_weights_pass(encoders: dict[str, EncoderParams]) -> None:
    """Every file that decides a value is in the lock, by encoder."""
    lock_models(encoders)
    check_locked(encoders)
    locked = json.loads(LOCK.read_text())
    assert list(locked) == ["words"]
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= locked["words"].keys()


def test_other_weights_under_the_same_name_are_refused(encoders: dict[str, EncoderParams]) -> None:
    """One sentence that names encoder, file and command; after locking them they pass."""
    lock_models(encoders)
    path = Path(str(encoders["words"].checkpoint).removeprefix("dir:")) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match=r"'words': model.safetensors .*mer models lock"):
        check_locked(encoders)
    lock_models(encoders)
    check_locked(encoders)


@pytest.mark.parametrize("text", [None, "{}", "not json", "[]"])
def test_no_lock_names_the_command(encoders: dict[str, EncoderParams], text: str | None) -> None:
    """Missing, empty and unreadable locks."""
    if text is not None:
        LOCK.write_text(text)
    with pytest.raises(CheckpointError, match="mer models lock"):
        check_locked(encoders)


def test_encoders_without_a_checkpoint_need_no_lock(encoders: dict[str, EncoderParams]) -> None:
    """The demo runs as it is cloned."""
    check_locked({"voice": encoders["voice"]})
