"""Replies on disk the moment they come."""

import json
import os
from pathlib import Path

import pytest

from mer_pipeline.enrich.journal import Journal


def test_entries_outlive_the_process(tmp_path: Path) -> None:
    """Another that starts reads them, from any number of files."""
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.add("a", {"text": "é 你\n"})
    second.add("b", {"n": 1})
    third = Journal(tmp_path)
    assert (third.get("a"), third.get("b"), third.get("c")) == ({"text": "é 你\n"}, {"n": 1}, None)
    assert ("a" in third, "c" in third) == (True, False)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_that_was_cut_is_no_line(tmp_path: Path, cut: int) -> None:
    """Those before and after it are."""
    journal = Journal(tmp_path)
    for name in "ab":
        journal.add(name, {"text": name * 20})
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(tmp_path)
    assert again.get("a") == {"text": "a" * 20}
    assert again.get("b") in (None, {"text": "b" * 20})
    again.add("c", {"text": "c"})
    assert Journal(tmp_path).get("c") == {"text": "c"}


def test_only_files_whose_entries_are_all_kept_elsewhere_go(tmp_path: Path) -> None:
    """What another model was asked stays, and so does what somebody still writes."""
    old = Journal(tmp_path)
    old.add("a", {})
    old.add("b", {})
    os.close(old._file or 0)
    writing = Journal(tmp_path)
    writing.add("c", {})
    new = Journal(tmp_path)
    new.add("d", {})
    new.clear({"a", "d"})
    assert {name for name in "abcd" if name in Journal(tmp_path)} == {"a", "b", "c"}
    Journal(tmp_path).clear({"a", "b", "c"})
    assert {name for name in "abcd" if name in Journal(tmp_path)} == {"c"}, "it is still being written"
    writing.clear({"c"})
    assert not list(tmp_path.iterdir())


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    """Of an older version, or of nothing at all."""
    lines = [b"", b"null", b"[]", b"{}", b'{"asked": "x"}', b'{"asked": "y", "row": 1}', b"\xff\xfe",
             json.dumps({"asked": "z", "row": {"old": 1}}).encode()]  # fmt: skip
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    journal = Journal(tmp_path, fits=lambda entry: set(entry) == {"new"})
    assert not [name for name in "xyz" if name in journal]


def test_a_full_disk_loses_nothing_of_this_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store may still take what the journal could not."""

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path)
    monkeypatch.setattr("mer_pipeline.enrich.journal.os.write", full)
    journal.add("a", {"n": 1})
    monkeypatch.undo()
    journal.add("b", {"n": 2})
    assert (journal.get("a"), journal.get("b")) == ({"n": 1}, {"n": 2})
    assert Journal(tmp_path).get("b") == {"n": 2}
