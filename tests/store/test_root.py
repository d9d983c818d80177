"""A store's folders appear whole, whoever makes them and whoever dies while doing so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mer_pipeline.store import root
from mer_pipeline.store.root import StorageRoot


class Killed(BaseException):
    """As good as a kill: no handler of errors stops it."""


def test_a_kill_while_a_folder_is_made_leaves_nothing_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its unfinished folder becomes the next run's, also beside the store, where no collector comes by."""

    def die(path: Path) -> None:
        raise Killed(path)

    store = StorageRoot(str(tmp_path / "store"))
    with monkeypatch.context() as during:
        during.setattr(root, "_share", die)
        with pytest.raises(Killed):
            store.write("packs/one", b"1")
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    store.write("packs/one", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert store.read("packs/one") == b"1"


@pytest.mark.parametrize("attempt", range(50))
def test_many_may_make_the_same_folders_at_once(tmp_path: Path, attempt: int) -> None:
    """Nobody's file is lost, nobody fails, and nothing else is left."""
    store, names = StorageRoot(str(tmp_path / "store")), [f"a/b/{n:02d}" for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.write(name, name.encode()), names))
    assert sorted(store.files("a/b")) == [Path(name).name for name in names]
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []
