"""Facts about `mer store`, on a store of a few packs."""

import os
import time
from pathlib import Path

import pytest

from mer_pipeline.base.errors import UsageError
from mer_pipeline.cli.store import gc, stat, this_store, verify
from mer_pipeline.store.fingerprint import Fingerprint
from mer_pipeline.store.store import Store
from tests.store.test_packs import PRINT, PROVENANCE, pack_set, packs, table

OTHER = Fingerprint({"params.a": "2"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two fingerprints of one transform; the second was last used forty days ago."""
    pack_set(tmp_path).put(table([1, 2]), PROVENANCE)
    pack_set(tmp_path, OTHER).put(table([3]), OTHER.provenance())
    old = time.time() - 40 * 86_400
    for path in (tmp_path / "packs/t" / OTHER.id).iterdir():
        os.utime(path, (old, old))
    return Store(str(tmp_path))


def test_gc_removes_what_no_run_used(store: Store, tmp_path: Path) -> None:
    """By the last use of a fingerprint; a dry run says the same and removes nothing."""
    assert "would remove 1 fingerprints" in gc(store, 30, dry_run=True)
    assert len(packs(tmp_path)) == 2
    assert "removed 1 fingerprints not used for 30 days" in gc(store, 30, dry_run=False)
    assert [path.parent.name for path in packs(tmp_path)] == [PRINT.id]


def test_a_run_is_a_use(store: Store, tmp_path: Path) -> None:
    """Opening a pack_set to run with it keeps all of its packs, however old they are."""
    pack_set(tmp_path, OTHER).open_for_writing()
    assert "removed 0" in gc(store, 30, dry_run=False)


def test_gc_takes_litter_along(store: Store, tmp_path: Path) -> None:
    """What killed writers left, and damaged packs, once they are old."""
    folder = tmp_path / "packs/t" / PRINT.id
    litter = [folder / ".abc.tmp", tmp_path / "aside/t/f/x.parquet"]
    for path in litter:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert "0 damaged or left-over files" in gc(store, 30, dry_run=False)
    for path in litter:
        os.utime(path, (0, 0))
    assert "2 damaged or left-over files" in gc(store, 30, dry_run=False)
    assert not any(path.exists() for path in litter)


def test_verify_names_and_sets_aside_what_is_damaged(store: Store, tmp_path: Path) -> None:
    """Every byte of every pack is read."""
    assert verify(store) == []
    victim = packs(tmp_path)[0]
    victim.write_bytes(victim.read_bytes()[:-5])
    (line,) = verify(store)
    assert victim.name[:16] in line
    assert "torn or altered" in line
    assert verify(store) == []
    assert "1 damaged packs set aside" in stat(store)


def test_no_store_is_an_error_of_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to list."""
    monkeypatch.setenv("MER_STORE", "none")
    with pytest.raises(UsageError):
        this_store()
