"""Each line of the tables in docs/outcomes.md has tests that assert what it says.

A test names its line by the first cell, and quotes what it asserts of the other cells:

    @pytest.mark.outcome("no sound track; digital silence", '"silent"')

All tests of a line together must quote all its words. So a word that is altered or added in the page needs a look at
the tests of its line. The marks are read from the source of the tests; nothing is run for it.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mer_pipeline.engines import isolation, worker
from mer_pipeline.media import bounds, container, decode, sound, upright

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/outcomes.md"
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
JOINING = frozenset({"and", "or"})  # words between two parts that need no test


@dataclass(frozen=True)
class Mark:
    """A mark of a test.

    Attributes:
        place: where it stands.
        line: the first cell of the line.
        claims: parts of the other cells.
    """

    place: str
    line: str
    claims: tuple[str, ...]


def lines_of(page: str) -> list[tuple[str, str]]:
    """The lines of all tables: the first cell, and the others with bars between them. Links are their words."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", page, re.M):
        for row in table.splitlines()[2:]:
            first, *others = [LINK.sub(r"\1", cell.strip()) for cell in row.strip("|\n").split(" | ")]
            found.append((first.strip(), " | ".join(others).strip(" |")))
    return found


def marks_in(path: Path) -> Iterator[Mark]:
    """All marks in a file of tests."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.outcome":
            words = [ast.literal_eval(argument) for argument in node.args]
            yield Mark(f"{path.relative_to(ROOT)}:{node.lineno}", words[0], tuple(words[1:]))


def power(number: int) -> str:
    """A power of ten as the page writes it."""
    zeros = str(number).count("0")
    assert number == 10**zeros
    return f"10{'⁰¹²³⁴⁵⁶⁷⁸⁹'[zeros]}"


def unsaid(text: str, claims: list[str]) -> list[str]:
    """The words of a text that are in none of the claims.

    Example:
        >>> unsaid("done; times are read from the file", ["times are read"])
        ['done', 'from', 'the', 'file']
    """
    left = list(text)
    for claim in claims:
        for found in re.finditer(re.escape(claim), text):
            left[found.start() : found.end()] = " " * len(claim)
    return [word for word in re.findall(r"\w+", "".join(left)) if word not in JOINING]


LIMITS = {
    "time": f"{isolation.CPU_S:.0f} s of CPU time, and {isolation.CPU_S_PER_MB:.0f} s for each MB of the clip's files",
    "memory": f"{worker.MEMORY / 1e9:.0f} GB of address space beyond what is loaded at the start",
    "open files": f"{worker.OPEN_FILES};",
    "length of a file": f"{container.MAX_SECONDS:,.0f} s",
    "streams": f"{bounds.MAX_STREAMS}",
    "pixels of a frame, coded or shown": f"{upright.MAX_PIXELS**0.5:.0f} × {upright.MAX_PIXELS**0.5:.0f}",
    "width of a pixel": f"{'_½⅓¼⅕'[upright.MAX_STRETCH - 1]} to {upright.MAX_STRETCH} times its height",
    "pixels of all frames": (
        f"{power(decode.PIXELS)}, and {power(decode.PIXELS_PER_BYTE)} more for each byte of the file"
    ),
    "channels; sample rate": (
        f"{container.MAX_CHANNELS}; {sound.RATES.start // 1000} to {sound.RATES.stop // 1000} kHz"
    ),
    "samples of an mp4's track, by each of its tables": (
        f"{bounds.SAMPLES_PER_BYTE} for each byte of the file; "
        f"{bounds.MAX_SAMPLES:,} where FFmpeg lists them one by one"
    ),
    "samples in all fragments of an mp4": (
        f"one for each byte of the file, and {bounds.SAMPLES_PER_BYTE * bounds.MAX_SAMPLES:,}"
    ),
    "entries of an edit list": f"{bounds.MAX_EDITS}, or {bounds.MAX_EDITED:,} divided by the samples of its track",
    "nested boxes of an mp4": f"{bounds.MAX_DEPTH};",
}
LINES = dict(lines_of(PAGE.read_text(encoding="utf-8")))
MARKS = [mark for path in sorted((ROOT / "tests").rglob("test_*.py")) for mark in marks_in(path)]


def test_a_line_has_a_name_of_its_own() -> None:
    """No two lines have the same first cell."""
    names = [name for name, _ in lines_of(PAGE.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted(LINES)
    assert len(names) > 60


def test_every_mark_is_of_a_line() -> None:
    """And what it quotes stands there, word for word."""
    assert [mark for mark in MARKS if mark.line not in LINES or not mark.claims] == []
    assert [mark for mark in MARKS if any(claim not in LINES[mark.line] for claim in mark.claims)] == []


@pytest.mark.parametrize("line", LINES)
def test_every_line_has_tests_of_all_it_says(line: str) -> None:
    """Each word of what becomes of it is in the claim of a test."""
    claims = [claim for mark in MARKS if mark.line == line for claim in mark.claims]
    assert unsaid(LINES[line], claims) == []


@pytest.mark.outcome("time", "30 s of CPU time, and 4 s for each MB of the clip's files")
@pytest.mark.outcome("memory", "1 GB of address space beyond what is loaded at the start")
@pytest.mark.outcome("open files", "64;")
@pytest.mark.parametrize("line", LIMITS)
def test_the_limits_of_the_page_are_those_of_the_code(line: str) -> None:
    """Their values; the tests of each line say that they hold."""
    assert LINES[line].startswith(LIMITS[line])


def test_what_the_page_says_elsewhere_of_limits() -> None:
    """Where a sentence has a number, it is the code's."""
    limits = f"{isolation.CPU_S:.0f} s (and {isolation.CPU_S_PER_MB:.0f} s for each MB) or {worker.MEMORY / 1e9:.0f} GB"
    assert f"decoding it crashes, or takes more than {limits}" in LINES
    assert f"has had {isolation.CLIPS} clips" in LINES
    assert isolation.PATIENCE == 10, "a process that sleeps is ended after ten times as long"
    assert decode.LEAD_SECONDS == 0.5, "a clip that begins between two key frames"
    assert decode.COMPLETE == 0.97, "3 % of a damaged clip's frames"
    assert len(list(csv.DictReader((ROOT / "data/demo/odd.csv").open(encoding="utf-8")))) == 13, "thirteen such cases"
