"""Facts about models.lock."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from mer_pipeline.base.errors import CheckpointError, ParamsError
from mer_pipeline.enrich.ask import ByServerParams
from mer_pipeline.enrich.generate import ByCheckpointParams
from mer_pipeline.judges.llm_scores import LlmScoresParams
from mer_pipeline.judges.open_clip import ZeroShotParams
from mer_pipeline.models.lock import LOCK, check_locked, checkpoints_of, lock_models
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.speech.logmel import LogMelParams
from mer_pipeline.text.hf_text import HfTextParams
from mer_pipeline.vision.open_clip import OpenClipParams

VOICE = LogMelParams(family="logmel", input="audio")


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Of one encoder, beside one without a checkpoint."""
    monkeypatch.chdir(tmp_path)
    spec = f"dir:{make_tiny('bert', tmp_path / 'bert', 0)}"
    words = HfTextParams(family="hf-text", input="transcript", checkpoint=spec)
    return checkpoints_of({"words": words, "voice": VOICE}, {})


def test_locked_weights_pass(checkpoints: Mapping[str, str]) -> None:
    """Every file that decides a value is in the lock, by encoder."""
    lock_models(checkpoints)
    check_locked(checkpoints)
    locked = json.loads(LOCK.read_text())
    assert list(locked) == ["words"]
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= locked["words"].keys()


def test_other_weights_under_the_same_name_are_refused(checkpoints: Mapping[str, str]) -> None:
    """One sentence that names whose it is, file and command; after locking them they pass."""
    lock_models(checkpoints)
    path = Path(checkpoints["words"].removeprefix("dir:")) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match=r"'words': model.safetensors .*mer models lock"):
        check_locked(checkpoints)
    lock_models(checkpoints)
    check_locked(checkpoints)


@pytest.mark.parametrize("text", [None, "{}", "not json", "[]"])
def test_no_lock_names_the_command(checkpoints: Mapping[str, str], text: str | None) -> None:
    """Missing, empty and unreadable locks."""
    if text is not None:
        LOCK.write_text(text)
    with pytest.raises(CheckpointError, match="mer models lock"):
        check_locked(checkpoints)


def test_without_a_checkpoint_no_lock_is_needed() -> None:
    """The demo runs as it is cloned."""
    assert not checkpoints_of({"voice": VOICE}, {"llm": LlmScoresParams(kind="llm-scores", input="enriched")})
    check_locked({})


def test_judges_have_names_of_their_own() -> None:
    """A judge may be called as an encoder is; what would fall together in the lock is refused."""
    judge = ZeroShotParams(kind="open-clip", input="faces", checkpoint="dir:x")
    encoder = OpenClipParams(family="open-clip", input="faces", checkpoint="dir:y")
    assert checkpoints_of({"face": encoder}, {"face": judge}) == {"face": "dir:y", "vote-face": "dir:x"}
    with pytest.raises(ParamsError, match="encoder 'vote-face' and judge 'face'"):
        checkpoints_of({"vote-face": encoder}, {"face": judge})


def test_a_checkpoint_that_enriches_is_locked_too() -> None:
    """Under a name that no encoder can have; a server's model is not here."""
    local = ByCheckpointParams(backend="transformers", model="dir:z")
    assert checkpoints_of(enrich=local) == {"enrich/model": "dir:z"}
    assert not checkpoints_of(enrich=ByServerParams(backend="openai", model="m"))
