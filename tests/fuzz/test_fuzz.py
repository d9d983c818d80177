"""Mutated media files, for a minute: each has an outcome, and always the same (harness.py, figures.md)."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.harness import Figures, File, file_of, fuzz
from tests.fuzz.media import KINDS, make
from tests.fuzz.mutate import MUTATIONS, nodes, replaced

MINUTES = 0.8  # a batch that has begun is finished
DAYS_FILES = 1_000_000  # numbers that a nightly run does not reach


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Files whose numbers the page does not have."""
    return fuzz(range(DAYS_FILES, DAYS_FILES + 10_000), minutes=MINUTES, batch=40)


@pytest.mark.slow
def test_nothing_is_seen_that_must_not_be(figures: Figures) -> None:
    """No stage dies, nothing undocumented is raised, and a file's outcome depends on nothing but the file."""
    assert figures.files >= 40
    assert figures.faults == []


@pytest.mark.slow
def test_no_broken_file_is_called_passing(figures: Figures) -> None:
    """The disk is well here, so nothing may pass."""
    assert figures.passing == []


@pytest.mark.slow
def test_the_mutations_reach_the_decoders(figures: Figures) -> None:
    """Some files are decoded all the same, and some are broken: else nothing was tried."""
    for counts in figures.outcomes.values():
        assert counts["done"] > figures.files / 10
        assert counts["BadInput"] > figures.files / 20


def test_a_number_is_a_file() -> None:
    """So that a file that was seen at night can be looked at."""
    assert [file_of(7), file_of(8)] == [file_of(7), file_of(8)]
    assert isinstance(file_of(7), File)
    assert all(file_of(number).data for number in range(3000)), "also where mutations leave next to nothing"
    assert file_of(7) != file_of(8)


@pytest.mark.parametrize("kind", ["mp4", "mov", "avi", "mkv", "webm", "wav"])
def test_a_container_is_read_as_a_tree(kind: str) -> None:
    """Its nodes cover it; one that is put back is the file; one that is gone leaves a tree with the others."""
    data = make(kind)
    found = nodes(data)
    assert len(found) > 2
    assert max(node.end for node in found) >= len(data) - 1
    for node in found:
        assert replaced(data, node, data[node.start : node.end]) == data
    inner = next(node for node in reversed(found) if node.above and node.size_at - node.start < 8)
    without = nodes(replaced(data, inner, b""))
    assert len(without) == len(found) - 1 - sum(inner in node.above for node in found)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_changes_files_of_every_container(name: str) -> None:
    """And gives one again that is not too long to try thousands of."""
    for kind in KINDS:
        data = make(kind)
        changed = [MUTATIONS[name][0](data, random.Random(at)) for at in range(8)]
        assert any(one != data for one in changed)
        assert max(map(len, changed)) < 2_000_000
