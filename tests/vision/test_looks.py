"""Facts about descriptions of faces: by gradients and colours, and by a face network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.models.lock import checkpoints_of
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.vision.align import LAYOUT, align
from mer_pipeline.vision.detector import MtcnnParams
from mer_pipeline.vision.embedded import Embedded
from mer_pipeline.vision.looks import Described, unlike
from mer_pipeline.vision.tracks import FollowFaces

PICTURE = np.ascontiguousarray(skimage.data.astronaut()[:300, 100:400])
POINTS = (LAYOUT * 110 + [70, 55]).astype(np.float32)  # of the astronaut's face


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face network with random weights."""
    return make_tiny("facenet", tmp_path_factory.mktemp("models") / "facenet", 0)


@pytest.fixture(scope="module")
def embedded(folder: Path) -> Embedded:
    """Faces as that network describes them."""
    made = Embedded(f"dir:{folder}")
    made.setup(torch.device("cpu"))
    return made


def test_the_same_face_a_little_moved_looks_alike() -> None:
    """And one that is upside down, in other colours, does not."""
    made = Described()
    one, moved = made.of(PICTURE, np.stack([POINTS, POINTS + 2]))
    (other,) = made.of(255 - PICTURE[::-1], POINTS[None])
    assert unlike(one, moved) < made.same < made.other < unlike(one, other)


def test_a_face_network_is_asked_as_its_library_asks_it(folder: Path, embedded: Embedded) -> None:
    """facenet_pytorch: its standardisation and its network on the aligned crop."""
    from facenet_pytorch import InceptionResnetV1, fixed_image_standardization
    from safetensors.torch import load_file

    network = InceptionResnetV1(pretrained=None, classify=False).eval()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    crop = torch.from_numpy(align(PICTURE, POINTS, 160, 0.1).transpose(2, 0, 1).copy()).float()
    with torch.inference_mode():
        expected = network(fixed_image_standardization(crop)[None])[0].numpy()
    (vector,) = embedded.of(PICTURE, POINTS[None])
    np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_a_face_is_described_alike_whoever_else_is_there(embedded: Embedded) -> None:
    """To the last bit: alone, and as one of eleven."""
    (alone,) = embedded.of(PICTURE, POINTS[None])
    crowd = embedded.of(PICTURE, np.stack([POINTS + at for at in range(10, -1, -1)]))
    assert (crowd[10] == alone).all()
    assert embedded.of(PICTURE, POINTS[:0][None][:0]) == []


def test_the_network_is_part_of_the_step(folder: Path) -> None:
    """Its weights are among the files that the fingerprint digests; without a network the key says nothing of it."""
    plain, networked = (FollowFaces(MtcnnParams(checkpoint=spec), Path()) for spec in (None, f"dir:{folder}"))
    assert set(networked.files()) - set(plain.files()) == {folder / "model.safetensors"}
    keys = [fingerprint_of(step, "cpu") for step in (plain, networked)]
    assert keys[0].id != keys[1].id
    assert not any("embedded" in part or "checkpoint" in part for part in keys[0].parts)


def test_the_networks_checkpoint_is_locked_and_looked_for(folder: Path, tmp_path: Path) -> None:
    """By its name in models.lock; a missing one is a sentence at set-up."""
    assert checkpoints_of(faces=MtcnnParams(checkpoint=f"dir:{folder}")) == {"faces/model": f"dir:{folder}"}
    assert checkpoints_of(faces=MtcnnParams()) == {}
    with pytest.raises(CheckpointError, match="there is no folder"):
        FollowFaces(MtcnnParams(checkpoint=f"dir:{tmp_path / 'none'}"), Path())
