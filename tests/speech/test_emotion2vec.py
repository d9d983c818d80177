"""emotion2vec's network against that of FunASR, whose states are recorded in emotion2vec.json.

The oracle itself runs where funasr can be imported (tests/test_reference.py). `python -m tests.speech.test_emotion2vec`
records it anew there.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.models.tiny_emotion2vec import CONF, shapes
from mer_pipeline.speech.emotion2vec import Emotion2vec, Emotion2vecParams
from mer_pipeline.speech.emotion2vec_net import PREFIX, Network, Shape, convolutions

RECORDED = Path(__file__).with_name("emotion2vec.json")


def written(folder: Path, **changed: object) -> Shape:
    """The small configuration in a folder."""
    config = {"model_type": "emotion2vec", "model_conf": {**CONF, **changed}}
    (folder / "config.json").write_text(json.dumps(config))
    return Shape.read(folder)


def numbers() -> dict[str, torch.Tensor]:
    """Weights that are the same with every version of torch."""
    rng = np.random.default_rng(0)
    return {
        name: torch.from_numpy(rng.normal(name.endswith(("weight", "scale")) and len(size) != 2, 0.3, size)).float()
        for name, size in sorted(shapes().items())
    }


def sound() -> torch.Tensor:
    """An eighth of a second of noise, (1, samples)."""
    return torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, (1, 2000))).float()


@torch.inference_mode()
def test_the_recorded_states_of_funasr(tmp_path: Path) -> None:
    """Number by number, but for the rounding of another order of summation."""
    shape = written(tmp_path)
    states = Network(tmp_path, shape, numbers())(sound())
    expected = np.array(json.loads(RECORDED.read_text())["states"])
    assert len(states) == 1 + shape.blocks
    assert states[-1][0].shape == expected.shape == (6, shape.dim)
    np.testing.assert_allclose(states[-1][0].numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@torch.inference_mode()
def test_a_scale_for_each_block(tmp_path: Path) -> None:
    """A file with one scale of the distances for each block is read so; equal ones are one for all."""
    shape = written(tmp_path)
    state = numbers()
    name = f"{PREFIX}modality_encoders.AUDIO.alibi_scale"
    one = Network(tmp_path, shape, state)(sound())[-1]
    state[name] = state[name].repeat(shape.prenet + shape.blocks, 1, 1, 1, 1)
    np.testing.assert_array_equal(Network(tmp_path, shape, state)(sound())[-1], one)
    state[name][-1] = 0  # of the last block alone
    assert not torch.equal(Network(tmp_path, shape, state)(sound())[-1], one)


def test_the_configuration_of_another_network_is_refused(tmp_path: Path) -> None:
    """What all published checkpoints have is computed, and nothing else is taken for it."""
    with pytest.raises(CheckpointError, match=r"layer_norm_first of its config.json is True; emotion2vec has False"):
        written(tmp_path, layer_norm_first=True)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="is a 'bert' model; this family loads emotion2vec"):
        Shape.read(tmp_path)


def test_missing_and_wrong_weights(tiny: Path, tmp_path: Path) -> None:
    """One sentence at set-up."""
    from safetensors.torch import load_file, save_file

    state = load_file(tiny / "emotion2vec/model.safetensors")
    (tmp_path / "config.json").write_text((tiny / "emotion2vec/config.json").read_text())

    def set_up() -> None:
        save_file(state, tmp_path / "model.safetensors")
        params = Emotion2vecParams(family="emotion2vec", input="audio", checkpoint=f"dir:{tmp_path}")
        Emotion2vec("x", params).setup(torch.device("cpu"))

    name = f"{PREFIX}blocks.1.mlp.fc1.weight"
    weight = state.pop(name)
    with pytest.raises(CheckpointError, match=r"lacks 1 of the model's weights \(first: blocks.1.mlp.fc1.weight\)"):
        set_up()
    state[name] = weight[:, :3].contiguous()
    with pytest.raises(CheckpointError, match=r"its weights do not fit its config\.json"):
        set_up()
    state[name] = weight * np.nan
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.fc1\.weight has values that are no numbers"):
        set_up()


@pytest.mark.parametrize("spec", ["__import__('os').getcwd()", "[(1, 2)]", "[(1, 2, 3)] * 1000000000", "[(1, 2, x)]"])
def test_an_expression_is_read_and_not_run(spec: str) -> None:
    """FunASR evaluates this line of the file; here it may be a list of numbers."""
    with pytest.raises(ValueError, match=r"list of convolutions|malformed"):
        convolutions(spec)


def record() -> None:
    """Write what FunASR's own class makes of the same weights and the same sound."""
    import funasr
    from funasr.models.emotion2vec.model import Emotion2vec as Oracle

    with torch.inference_mode():
        state = numbers()
        model = Oracle(model_conf=CONF, vocab_size=9).eval()
        model.load_state_dict({name.removeprefix(PREFIX): value for name, value in state.items()})
        heard = torch.nn.functional.layer_norm(sound(), (1, 2000))
        states = model.extract_features(heard, padding_mask=None)["x"][0].double().numpy().round(7).tolist()
    RECORDED.write_text(json.dumps({"funasr": funasr.__version__, "states": states}) + "\n")


if __name__ == "__main__":
    record()
